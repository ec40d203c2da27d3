// Phrases to prefer, as an automaton over the text that hypotheses spell (Aho and Corasick, 1975).
//
// It follows letters and not pieces: however a hypothesis cuts a phrase into pieces, it spells the same letters. A
// phrase counts as whole words only. Each of its letters adds a bonus as it is spelled (`pending`); the end of the word
// behind it makes that a `gain`, which stays, and whatever breaks the match off takes it back.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace onebit {

// docs/search.md says what was measured. The attention decoder is surer of its pieces than CTC of its own.
inline constexpr float kBonusPerLetter = 1.0f;
inline constexpr float kBonusPerWrittenLetter = 0.4f;

class Hotwords {
public:
    // pieces: those of token ids 1 and up; one that starts a word begins with U+2581. phrases: words with single spaces
    // between. Throws std::invalid_argument for a phrase that the pieces cannot spell, and for no or too many letters
    // altogether.
    Hotwords(const std::vector<std::string>& phrases, const std::vector<std::string>& pieces,
             float bonus_per_letter = kBonusPerLetter);

    // Of written text: pieces are the bytes of token ids 0 and up. Capitals and small letters are the same, and
    // whatever is no letter, digit, apostrophe or byte above 127 stands between words, however much of it.
    static Hotwords of_bytes(const std::vector<std::string>& phrases, const std::vector<std::string>& pieces,
                             float bonus_per_letter = kBonusPerWrittenLetter);

    struct Step {
        int state;
        float gain;  // log-probability to keep
    };

    int start() const { return start_; }  // before the first word
    Step advance(int state, int token) const;
    float pending(int state) const { return pending_[state]; }              // of a match that may still break off
    float end_gain(int state) const { return gain_[next(state, space_)]; }  // if the text ends here

    int outputs() const { return static_cast<int>(first_symbol_.size()); }  // tokens with the blank
    std::size_t resident_bytes() const;

private:
    explicit Hotwords(float bonus_per_letter) : bonus_per_letter_(bonus_per_letter) {}

    void spell_pieces(const std::vector<std::string>& pieces);
    void spell_bytes(const std::vector<std::string>& phrases, const std::vector<std::string>& pieces);
    void build(const std::vector<std::string>& phrases);
    void insert(const std::string& phrase);
    void link();
    void settle(int parent, int symbol, int child, int failure);
    int add_state();
    int symbol_of(char letter, const std::string& phrase) const;
    int next(int state, int symbol) const { return next_[static_cast<std::size_t>(state) * symbols_ + symbol]; }
    int& next(int state, int symbol) { return next_[static_cast<std::size_t>(state) * symbols_ + symbol]; }

    std::vector<int> symbol_of_byte_;     // 256; -1: no piece has it
    std::vector<std::uint8_t> spelling_;  // symbols of all tokens, one after the other
    std::vector<int> first_symbol_;       // of each token
    float bonus_per_letter_;
    std::size_t symbols_ = 0;
    int space_ = 0;
    int start_ = 0;

    std::vector<int> next_;    // (states, symbols)
    std::vector<float> gain_;  // on entering a state
    std::vector<float> pending_;
    std::vector<float> value_;     // of the letters from the root to a state
    std::vector<float> paid_;      // gains from the root to a state
    std::vector<bool> is_phrase_;  // a whole phrase and the space behind it

    // Of written text: whether the last symbol on the way to a state was a space, which more of them do not change.
    std::vector<bool> is_after_space_;
};

}  // namespace onebit
