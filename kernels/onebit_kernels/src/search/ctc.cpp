#include "ctc.h"

#include <algorithm>
#include <cmath>

namespace onebit {

void CtcSearch::advance(const float* log_probabilities, int frames, int outputs, int stride,
                        std::vector<Token>& tokens) {
    for (int t = 0; t < frames; ++t, ++frame_, log_probabilities += stride) {
        const int best =
            static_cast<int>(std::max_element(log_probabilities, log_probabilities + outputs) - log_probabilities);
        const bool begins = best != previous_;
        previous_ = best;
        trailing_blank_frames_ = best == kBlank ? trailing_blank_frames_ + 1 : 0;
        if (best == kBlank) continue;
        if (begins) {
            tokens.push_back({best, frame_, 0, 0.0f});
            log_sum_ = 0.0f;
        }
        if (tokens.empty()) continue;  // began in an earlier chunk and is reported already
        log_sum_ += log_probabilities[best];
        Token& token = tokens.back();
        token.confidence = std::exp(log_sum_ / static_cast<float>(++token.frames));
    }
}

}  // namespace onebit
