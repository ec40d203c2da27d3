// CTC prefix beam search (Hannun et al., 2014): the most probable texts, each summed over all its alignments.
//
// The texts that are left share their beginning soon; that part is handed out once and for all, the rest of the best
// text is `tentative` until then. Memory is bounded however long the stream: a text waits with kMostWaiting tokens at
// most.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "hotwords.h"
#include "language_model.h"
#include "token.h"

namespace onebit {

inline constexpr int kWidestBeam = 32;
inline constexpr int kMostWaiting = 64;  // tokens, ten seconds of speech or more

class BeamSearch {
public:
    // 2 <= width <= kWidestBeam. hotwords, language model: of a vocabulary with as many outputs, or none.
    BeamSearch(int width, int outputs, std::shared_ptr<const Hotwords> hotwords,
               std::shared_ptr<const LanguageModel> language_model);

    // log_probabilities: (frames, outputs), rows `stride` apart. Appends what is decided to `tokens`.
    void advance(const float* log_probabilities, int frames, int stride, std::vector<Token>& tokens);

    // What follows the decided tokens in the best text so far, or if it ends here; replaces the contents of `tokens`.
    void tentative(bool ended, std::vector<Token>& tokens) const;

    void reset();
    int outputs() const { return outputs_; }
    int frames() const { return frame_; }
    int trailing_blank_frames() const { return trailing_blank_frames_; }
    std::size_t resident_bytes() const;

private:
    // The tokens of a text that are not decided yet, along its most probable alignment. `confidence` is a sum of
    // logarithms.
    struct Path {
        std::array<Token, kMostWaiting> tokens;
        int count = 0;
    };

    // Log-probabilities of the alignments of a text, by what they end in, and what it is worth.
    struct Scores {
        float blank;
        float token;
        float total;
        float bonus;  // of complete hotwords and of the language model
        int match;    // state of the hotwords
        int context;  // state of the language model
        float rank;   // total and every bonus
    };

    struct Hypothesis {
        Scores scores;
        std::uint64_t prefix;  // hash of the text
        std::uint64_t parent;  // of the text without its last token
        int last;              // kBlank: the empty text
        Path path;
    };

    struct Choice {
        int id;
        float log_probability;
    };

    // How the path of a candidate follows from an earlier one: as it is, its last token seen once more, or a token
    // more.
    enum class Move { keep, prolong, append };

    struct Candidate {
        Scores scores;
        int text;   // hypothesis with this text; kNew: the text of `path` and the token behind it
        int path;   // hypothesis whose path goes on
        int token;  // that moves
        Move move;
    };
    static constexpr int kNew = -1;

    void step(const float* log_probabilities);
    void choose_tokens(const float* log_probabilities);
    void stay(int index, const float* log_probabilities);
    void extend(int index);
    int before(const Hypothesis& text) const;
    bool is_there(const Hypothesis& text, int token) const;
    float rank(const Scores& scores) const;
    void add(Candidate candidate);
    void survive(const float* log_probabilities);
    void take_over(const Candidate& candidate, float log_probability, Hypothesis& next) const;
    void decide(std::vector<Token>& tokens);
    void drop_dissenters();
    Token decided() const;
    const Hypothesis& best(bool ended) const;

    std::size_t width_;
    int outputs_;
    std::shared_ptr<const Hotwords> hotwords_;
    std::shared_ptr<const LanguageModel> language_model_;
    std::vector<Hypothesis> hypotheses_;  // best first
    std::vector<Hypothesis> next_;
    std::size_t count_ = 0;  // of hypotheses_ in use
    std::vector<Choice> choices_;
    std::vector<Candidate> candidates_;
    std::vector<int> order_;
    float least_rank_ = 0.0f;  // no candidate below it survives
    int frame_ = 0;
    int trailing_blank_frames_ = 0;
};

}  // namespace onebit
