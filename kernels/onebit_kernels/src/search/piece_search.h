// Beam search over the pieces of the attention decoder; width 1 is greedy.
//
// Every step each open text is followed by its likeliest pieces, and the best `width` of the longer texts stay open;
// texts that end are put aside. The search ends when `width` texts have, and the best one by the mean log-probability
// of its pieces, the end included, is what is written (Wu et al., 2016, with an exponent of 1).
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "hotwords.h"

namespace onebit {

// Special pieces, by the order of onebit_model/text/pieces.py.
inline constexpr int kEndPiece = 0;
inline constexpr int kNoSpeechPiece = 4;
inline constexpr int kFirstWrittenPiece = 6;
inline constexpr std::array<int, 4> kPromptPieces = {1, 2, 3, 5};  // start, english, transcribe, no_timestamps

inline constexpr int kWidestPieceBeam = 8;

// Whether a text ends with the same few pieces again and again: three times at least, and twenty pieces together.
bool ends_in_a_loop(std::span<const int> pieces);

// A phrase that is written again right behind its end.
struct Repetition {
    std::size_t first;   // its first piece
    std::size_t length;  // pieces, three at least
};

// The first one in a text that begins at `from` or later.
std::optional<Repetition> find_repetition(std::span<const int> pieces, std::size_t from);

// The phrase that a text ends with again and again (`ends_in_a_loop`), from where it was written first.
std::optional<Repetition> find_loop(std::span<const int> pieces);

class PieceSearch {
public:
    struct Piece {
        int id;
        float log_probability;
    };

    // Texts have at most `most_pieces`. Throws std::invalid_argument for a width that is not 1 to kWidestPieceBeam, and
    // for hotwords of another vocabulary.
    PieceSearch(int width, int vocabulary, int most_pieces, std::shared_ptr<const Hotwords> hotwords);

    // Row i of `log_probabilities`, rows `stride` apart, says what follows open text i; the first one what follows the
    // prompt.
    void advance(const float* log_probabilities, std::ptrdiff_t stride);

    int vocabulary() const { return vocabulary_; }
    bool ended() const { return ended_; }
    int open_texts() const { return static_cast<int>(open_.size()); }

    // The network's memory of an open text: a row for every piece, the prompt's first. Rows are never used again, and
    // those of the newest pieces are neighbours, in the order of the texts.
    std::span<const int> rows(int text) const { return open_[text].rows; }
    std::span<const int> text(int text) const { return open_[text].pieces; }
    int most_rows() const;

    // Texts that ended, once the search has. What CTC says of them counts as much as it is given weight for, before the
    // best one is asked for (Watanabe et al., 2017).
    int ended_texts() const { return static_cast<int>(finished_.size()); }
    std::span<const int> ended_text(int text) const { return finished_[text].pieces; }
    void join(int text, float ctc_log_probability, float ctc_weight);

    // The best text goes on from its first `length` pieces, at least one, in another way than it did, and all others
    // are forgotten. Once ended; false, and nothing has changed, where that was done too often already.
    bool rewrite(std::size_t length);

    // The best text ends after its first `length` pieces, at least one. Once ended.
    void end_at(std::size_t length) { shorten(finished_[best_index()], length); }

    // The best text; pieces are without the end. Once ended.
    std::span<const int> pieces() const { return best().pieces; }
    std::span<const float> log_probabilities() const { return best().log_probabilities; }
    std::span<const int> best_rows() const { return best().rows; }
    float mean_log_probability() const { return best().mean(); }
    // It went on without an end, or said the same again and again.
    bool looped() const { return best().looped; }
    float no_speech_probability() const { return no_speech_probability_; }

    std::size_t resident_bytes() const;

private:
    struct Text {
        std::vector<int> rows;
        std::vector<int> pieces;
        std::vector<float> log_probabilities;
        float score = 0.0f;  // sum of the logarithms, with that of the end where there is one
        float joint = 0.0f;  // what CTC's opinion changes of the score
        float bonus = 0.0f;  // of complete hotwords
        int match = 0;       // state of the hotwords
        bool looped = false;

        float mean() const { return score / static_cast<float>(pieces.size() + 1); }
    };

    struct Candidate {
        int text;
        int piece;
        float log_probability;
        float bonus;
        int match;
        float rank;
    };

    // A piece that does not follow so many pieces.
    struct Barred {
        std::size_t length;
        int piece;
    };

    bool is_barred(const Text& text, int piece) const;
    void shorten(Text& text, std::size_t length) const;
    void choose(int text, const float* log_probabilities);
    void add(int text, int piece, float log_probability);
    bool ends(const Candidate& candidate) const;
    void finish(const Candidate& candidate);
    void prolong(const Candidate& candidate);
    void close();
    float worth(const Text& text) const;
    std::size_t best_index() const;
    const Text& best() const { return finished_[best_index()]; }
    void copy(const Text& from, Text& to) const;
    Text take_spare();

    int width_;
    int vocabulary_;
    int most_pieces_;
    std::shared_ptr<const Hotwords> hotwords_;
    std::size_t choices_;  // of a text
    std::vector<Text> open_, next_, finished_, spare_;
    std::vector<Candidate> candidates_;
    std::vector<Piece> likeliest_;
    std::vector<Barred> barred_;
    int next_row_;
    float no_speech_probability_ = 0.0f;
    bool begun_ = false;
    bool ended_ = false;
};

}  // namespace onebit
