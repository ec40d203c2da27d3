// The measurement that the ceilings of all architectures share.
#pragma once

#include <algorithm>
#include <chrono>

#include "ceilings.h"

namespace onebit::gemm {

// Enough independent sums to hide the latency of every instruction used.
inline constexpr int kPeakSums = 12;
inline constexpr long kPeakRounds = 4000;

struct PeakLoop {
    const char* instruction;
    void (*run)(long rounds);  // each round: kPeakSums instructions
    int operations;            // of one instruction
};

// The fastest of a few runs of a tenth of a millisecond each: what disturbs them only makes them slower.
inline Ceiling measure(const PeakLoop& loop) {
    using Clock = std::chrono::steady_clock;
    double seconds = 1e9;
    for (int i = 0; i < 40; ++i) {
        const auto start = Clock::now();
        loop.run(kPeakRounds);
        seconds = std::min(seconds, std::chrono::duration<double>(Clock::now() - start).count());
    }
    return {loop.instruction, static_cast<double>(kPeakRounds) * kPeakSums * loop.operations / seconds};
}

}  // namespace onebit::gemm
