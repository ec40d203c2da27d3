// Where the time of an engine goes. Off, it costs nothing; on, one reading of the thread's own time per stage and tile.
#pragma once

#include <array>
#include <cstddef>
#include <ctime>

namespace onebit {

enum class Stage { log_mel, stem, feed_forward, projections, attention, convolution, head, search, other };
inline constexpr std::size_t kStages = 9;
inline constexpr std::array<const char*, kStages> kStageNames = {
    "log_mel", "stem", "feed_forward", "projections", "attention", "convolution", "head", "search", "other"};

class StageClock {
public:
    void enable(bool on) { on_ = on; }
    bool enabled() const { return on_; }

    void start() {
        if (on_) last_ = now();
    }

    // Everything since the previous reading belongs to `stage`.
    void charge(Stage stage) {
        if (!on_) return;
        const double time = now();
        seconds_[static_cast<std::size_t>(stage)] += time - last_;
        last_ = time;
    }

    void clear() { seconds_.fill(0.0); }
    const std::array<double, kStages>& seconds() const { return seconds_; }

private:
    static double now() {
        timespec time{};
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
        return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
    }

    bool on_ = false;
    double last_ = 0.0;
    std::array<double, kStages> seconds_{};
};

}  // namespace onebit
