#include "ctc.h"

#include <algorithm>
#include <cmath>

namespace onebit {

void CtcSearch::advance(const float* log_probabilities, int frames, int outputs, int stride, std::vector<Token>& tokens) {
    const std::size_t before = tokens.size();
    float log_sum = 0.0f;  // of the newest token of this call
    const auto close = [&] {
        if (tokens.size() > before) tokens.back().confidence = std::exp(log_sum / static_cast<float>(tokens.back().frames));
    };
    for (int t = 0; t < frames; ++t, ++frame_, log_probabilities += stride) {
        const int best = static_cast<int>(std::max_element(log_probabilities, log_probabilities + outputs) - log_probabilities);
        const bool same = best == previous_;
        previous_ = best;
        trailing_blank_frames_ = best == kBlank ? trailing_blank_frames_ + 1 : 0;
        if (best == kBlank) continue;
        if (!same) {
            close();
            tokens.push_back({best, frame_, 0, 0.0f});
            log_sum = 0.0f;
        }
        if (tokens.size() == before) continue;  // began in an earlier chunk and is reported already
        ++tokens.back().frames;
        log_sum += log_probabilities[best];
    }
    close();
}

}  // namespace onebit
