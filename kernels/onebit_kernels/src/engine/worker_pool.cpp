#include "worker_pool.h"

namespace onebit {

WorkerPool::WorkerPool(int threads) {
    for (int worker = 1; worker < threads; ++worker) threads_.emplace_back([this, worker] { serve(worker); });
}

WorkerPool::~WorkerPool() {
    ending_.store(true);
    round_.fetch_add(1);
    round_.notify_all();
    for (std::thread& thread : threads_) thread.join();
}

void WorkerPool::share(const Job& job) {
    job_ = job;
    next_task_.store(0);
    busy_workers_.store(static_cast<int>(threads_.size()));
    round_.fetch_add(1);
    round_.notify_all();
    work_on(0);
    for (int busy = busy_workers_.load(); busy != 0; busy = busy_workers_.load()) busy_workers_.wait(busy);
}

void WorkerPool::work_on(int worker) {
    for (int task = next_task_.fetch_add(1); task < job_.tasks; task = next_task_.fetch_add(1))
        job_.call(job_.context, task, worker);
}

void WorkerPool::serve(int worker) {
    for (std::uint32_t seen = 0;;) {
        round_.wait(seen);
        seen = round_.load();
        if (ending_.load()) return;
        work_on(worker);
        if (busy_workers_.fetch_sub(1) == 1) busy_workers_.notify_all();
    }
}

}  // namespace onebit
