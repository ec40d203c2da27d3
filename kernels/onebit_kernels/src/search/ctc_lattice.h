// What CTC says of a written text: how likely it is, and when each of its pieces was said (Graves et al., 2006, on the
// lattice of its spellings).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "ctc_spelling.h"

namespace onebit {

// Log-probabilities of CTC, (frames, outputs), rows `stride` apart.
struct CtcScores {
    const float* log_probabilities;
    int frames;
    int outputs;
    std::ptrdiff_t stride;
};

// First frame of a piece and the one behind its last.
struct PieceTime {
    int begin;
    int end;
};

class CtcLattice {
public:
    // Memory for so many frames; nothing is allocated later.
    void reserve(int frames);

    // The logarithm of the probability that CTC heard this text, summed over all spellings and alignments; minus
    // infinity where there are too few frames for it. A wildcard is as likely as the best token of every frame.
    float log_probability(const CtcScores& scores, const SpelledText& text);

    // The same of the best alignment, and the times of all pieces of the text along it; one that is silent has no
    // length. Without times where there are too few frames for it.
    float align(const CtcScores& scores, const SpelledText& text, int pieces, PieceTime* times);

    // The same of the text up to a position, once `align` was asked about the whole of it; false where that is too long.
    bool aligned(const SpelledText& text) const { return best_.size() == static_cast<std::size_t>(text.positions()); }
    float best_until(int position) const { return best_[position].value; }

    // The sum of the best tokens of all frames of the last text's scores: no alignment is likelier.
    float loudest() const;

    std::size_t resident_bytes() const;

private:
    // States: an arc that sounds, or the blank at a position.
    static bool fits(const SpelledText& text, int frames);
    void open(const SpelledText& text, const CtcScores& scores);
    float emission(const CtcScores& scores, int frame, int token) const;
    void gather_best(const SpelledText& text);
    void step_best(const CtcScores& scores, const SpelledText& text, int frame);
    void step_sum(const CtcScores& scores, const SpelledText& text, int frame);
    void trace(const SpelledText& text, int frames, int state, PieceTime* times);

    // The best ways to a position, by arcs that sound different.
    struct Arrival {
        float value;
        int state;
        int token;
    };

    std::vector<float> loudest_;          // (frames) of all tokens
    std::vector<float> before_, after_;   // (states): arcs, then blanks by position
    std::vector<Arrival> best_, second_;  // (positions)
    std::vector<int> first_arrival_;      // (positions + 1) into arrivals_
    std::vector<int> arrivals_;           // arcs by their ends
    std::vector<std::uint16_t> from_;     // (frames, states) where the best way comes from
};

}  // namespace onebit
