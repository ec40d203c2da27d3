// Whisper's sinusoidal positions: position p, i < dim / 2: angle = p * e^(-i ln(10000) / (dim / 2 - 1)); (sines |
// cosines).
//
// A position is split as p = coarse + fine with fine < 32, so that a small table and one row per 32 frames serve any
// length.
#pragma once

#include <vector>

namespace onebit {

inline constexpr int kFinePositions = 32;

void write_position(int position, int dim, float* row);  // row: (dim)
std::vector<float> fine_position_table(int dim);         // (32, dim)

}  // namespace onebit
