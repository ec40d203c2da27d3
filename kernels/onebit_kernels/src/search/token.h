// What a search emits.
#pragma once

namespace onebit {

inline constexpr int kBlank = 0;

struct Token {
    int id;
    int frame;         // the first one, since the start of the segment
    int frames;        // how many it was seen in (greedy search: within the chunk in which it began)
    float confidence;  // geometric mean of its posterior over these frames
};

}  // namespace onebit
