#include "alignment.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

namespace onebit {
namespace {

enum Step : std::uint8_t { kRow = 1, kFrame = 2, kBoth = 3 };  // what grew on the way to a cell

constexpr int kMedianFrames = 7;

}  // namespace

void AlignmentDesk::reserve(int rows, int frames) {
    const std::size_t cells = static_cast<std::size_t>(rows) * static_cast<std::size_t>(frames);
    if (scores_.size() < cells) scores_.resize(cells), step_.resize(cells);
    const auto wanted = static_cast<std::size_t>(frames);
    if (line_.size() < wanted) line_.resize(wanted), sums_.resize(2 * wanted);
}

void AlignmentDesk::align(const float* weights, std::ptrdiff_t stride, std::span<const int> rows, int frames,
                          int* first_frames) {
    standardise(weights, stride, rows, frames);
    smooth(static_cast<int>(rows.size()), frames);
    trace(static_cast<int>(rows.size()), frames, first_frames);
}

void AlignmentDesk::standardise(const float* weights, std::ptrdiff_t stride, std::span<const int> rows, int frames) {
    const auto count = static_cast<float>(rows.size());
    float *mean = sums_.data(), *square = sums_.data() + frames;
    std::fill_n(mean, 2 * static_cast<std::ptrdiff_t>(frames), 0.0f);
    for (const int row : rows)
        for (int t = 0; t < frames; ++t) mean[t] += weights[row * stride + t] / count;
    for (const int row : rows)
        for (int t = 0; t < frames; ++t) {
            const float difference = weights[row * stride + t] - mean[t];
            square[t] += difference * difference / count;
        }
    float* score = scores_.data();
    for (const int row : rows)
        for (int t = 0; t < frames; ++t)
            *score++ = (weights[row * stride + t] - mean[t]) / (std::sqrt(square[t]) + 1e-6f);
}

// The ends are mirrored.
void AlignmentDesk::smooth(int rows, int frames) {
    constexpr int kHalf = kMedianFrames / 2;
    if (frames <= kHalf) return;
    for (int r = 0; r < rows; ++r) {
        float* row = scores_.data() + static_cast<std::ptrdiff_t>(r) * frames;
        std::copy_n(row, frames, line_.data());
        for (int t = 0; t < frames; ++t) {
            std::array<float, kMedianFrames> window;
            for (int i = -kHalf; i <= kHalf; ++i) {
                const int at = std::abs(t + i);
                window[i + kHalf] = line_[at < frames ? at : 2 * (frames - 1) - at];
            }
            std::nth_element(window.begin(), window.begin() + kHalf, window.end());
            row[t] = window[kHalf];
        }
    }
}

void AlignmentDesk::trace(int rows, int frames, int* first_frames) {
    constexpr float kNever = -std::numeric_limits<float>::infinity();
    float *above = sums_.data(), *here = sums_.data() + frames;
    for (int r = 0; r < rows; ++r, std::swap(above, here)) {
        const float* score = scores_.data() + static_cast<std::ptrdiff_t>(r) * frames;
        std::uint8_t* step = step_.data() + static_cast<std::ptrdiff_t>(r) * frames;
        for (int t = 0; t < frames; ++t) {
            const float by_row = r > 0 ? above[t] : kNever, by_frame = t > 0 ? here[t - 1] : kNever;
            const float by_both = r > 0 && t > 0 ? above[t - 1] : r + t == 0 ? 0.0f : kNever;
            const float best = std::max({by_row, by_frame, by_both});
            here[t] = best + score[t];
            step[t] = best == by_both ? kBoth : best == by_frame ? kFrame : kRow;
        }
    }
    for (int r = rows - 1, t = frames - 1; r >= 0 && t >= 0;) {
        first_frames[r] = t;
        const std::uint8_t step = step_[static_cast<std::size_t>(r) * static_cast<std::size_t>(frames) + t];
        if (step & kRow) --r;
        if (step & kFrame) --t;
    }
}

std::size_t AlignmentDesk::resident_bytes() const {
    return (scores_.capacity() + line_.capacity() + sums_.capacity()) * sizeof(float) + step_.capacity();
}

}  // namespace onebit
