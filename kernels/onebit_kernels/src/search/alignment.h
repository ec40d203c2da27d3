// When pieces were said, from the weights with which the decoder looked at the frames (Radford et al., 2023).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace onebit {

// Memory of `align`, for up to so many rows and frames; nothing is allocated later.
class AlignmentDesk {
public:
    void reserve(int rows, int frames);

    // weights: row i at weights + rows[i] * stride, `frames` values each: how the decoder looked at the frames when it
    // chose piece i. first_frames (rows.size()): where each piece begins; it never falls.
    //
    // Each frame is made comparable over the rows (mean 0, deviation 1), each row smoothed by a median over 7 frames,
    // and then the monotonic path of the largest sum is taken, which passes every row and every frame.
    void align(const float* weights, std::ptrdiff_t stride, std::span<const int> rows, int frames, int* first_frames);

    std::size_t resident_bytes() const;

private:
    void standardise(const float* weights, std::ptrdiff_t stride, std::span<const int> rows, int frames);
    void smooth(int rows, int frames);
    void trace(int rows, int frames, int* first_frames);

    std::vector<float> scores_;       // (rows, frames)
    std::vector<float> line_;         // (frames)
    std::vector<float> sums_;         // (2, frames) best sums of two rows
    std::vector<std::uint8_t> step_;  // (rows, frames) where the best path to a cell comes from
};

}  // namespace onebit
