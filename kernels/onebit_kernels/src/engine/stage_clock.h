// Where the time of an engine goes; one clock reading per stage and tile, cheap enough to stay.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>

namespace onebit {

enum class Stage { log_mel, stem, feed_forward, projections, attention, convolution, head, search, other };
inline constexpr std::size_t kStages = 9;
inline constexpr std::array<const char*, kStages> kStageNames = {
    "log_mel", "stem", "feed_forward", "projections", "attention", "convolution", "head", "search", "other"};

class StageClock {
public:
    void start() { last_ = Clock::now(); }

    // Everything since the previous reading belongs to `stage`.
    void charge(Stage stage) {
        const Clock::time_point now = Clock::now();
        seconds_[static_cast<std::size_t>(stage)] += std::chrono::duration<double>(now - last_).count();
        last_ = now;
    }

    void clear() { seconds_.fill(0.0); }
    const std::array<double, kStages>& seconds() const { return seconds_; }

private:
    using Clock = std::chrono::steady_clock;
    Clock::time_point last_{};
    std::array<double, kStages> seconds_{};
};

}  // namespace onebit
