// Threads that share the tasks of one step. With one thread there is no pool: tasks run in turn in the caller.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace onebit {

class WorkerPool {
public:
    explicit WorkerPool(int threads);  // the caller counts as one of them
    ~WorkerPool();
    WorkerPool(const WorkerPool&) = delete;
    WorkerPool& operator=(const WorkerPool&) = delete;

    int threads() const { return static_cast<int>(threads_.size()) + 1; }

    // work(task, worker) for every task < tasks, worker < threads(); the caller is worker 0. Returns when all are done.
    // Which worker runs a task is chance, so results must not depend on it.
    template <class Work>
    void run(int tasks, const Work& work) {
        if (threads_.empty()) {
            for (int task = 0; task < tasks; ++task) work(task, 0);
        } else {
            const auto call = [](const void* context, int task, int worker) {
                (*static_cast<const Work*>(context))(task, worker);
            };
            share({call, &work, tasks});
        }
    }

private:
    struct Job {
        void (*call)(const void* context, int task, int worker);
        const void* context;
        int tasks;
    };

    void share(const Job& job);
    void work_on(int worker);
    void serve(int worker);

    std::vector<std::thread> threads_;
    Job job_{};
    std::atomic<int> next_task_{0};
    std::atomic<int> busy_workers_{0};
    std::atomic<std::uint32_t> round_{0};  // every job begins one
    std::atomic<bool> ending_{false};
};

}  // namespace onebit
