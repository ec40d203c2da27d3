// Greedy CTC search: the best token of every frame, repetitions collapsed, blanks removed.
#pragma once

#include <vector>

#include "token.h"

namespace onebit {

// Survives chunks: a token that goes on into the next chunk is reported once.
class CtcSearch {
public:
    // log_probabilities: (frames, outputs), rows `stride` apart. Appends to `tokens`, which is empty when a chunk
    // begins.
    void advance(const float* log_probabilities, int frames, int outputs, int stride, std::vector<Token>& tokens);

    int frames() const { return frame_; }
    int trailing_blank_frames() const { return trailing_blank_frames_; }

private:
    int previous_ = kBlank;
    int frame_ = 0;
    int trailing_blank_frames_ = 0;
    float log_sum_ = 0.0f;  // of the newest token's posteriors
};

}  // namespace onebit
