#include "hotwords.h"

#include <algorithm>
#include <stdexcept>

namespace onebit {
namespace {

constexpr int kRoot = 0;
constexpr int kNone = -1;
constexpr std::size_t kMostLetters = 10'000;  // 28 symbols: a table of about one megabyte

std::string with_spaces(const std::string& piece) {
    static const std::string kWordStart = "\u2581";
    std::string text = piece;
    for (std::size_t at; (at = text.find(kWordStart)) != std::string::npos;) text.replace(at, kWordStart.size(), " ");
    return text;
}

// A byte of written text as hotwords see it.
char word_byte(char letter) {
    const auto byte = static_cast<unsigned char>(letter);
    if (byte >= 'A' && byte <= 'Z') return static_cast<char>(byte - 'A' + 'a');
    const bool is_word = (byte >= 'a' && byte <= 'z') || (byte >= '0' && byte <= '9') || byte == '\'' || byte > 127;
    return is_word ? letter : ' ';
}

// The words of a text with single spaces between.
std::string words_of(const std::string& text) {
    std::string words;
    for (const char letter : text) {
        const char byte = word_byte(letter);
        if (byte != ' ' || (!words.empty() && words.back() != ' ')) words += byte;
    }
    if (!words.empty() && words.back() == ' ') words.pop_back();
    return words;
}

}  // namespace

Hotwords::Hotwords(const std::vector<std::string>& phrases, const std::vector<std::string>& pieces,
                   float bonus_per_letter)
    : bonus_per_letter_(bonus_per_letter) {
    spell_pieces(pieces);
    build(phrases);
}

Hotwords Hotwords::of_bytes(const std::vector<std::string>& phrases, const std::vector<std::string>& pieces,
                            float bonus_per_letter) {
    std::vector<std::string> words;
    for (const std::string& phrase : phrases) words.push_back(words_of(phrase));
    Hotwords hotwords(bonus_per_letter);
    hotwords.spell_bytes(words, pieces);
    hotwords.build(words);
    hotwords.is_after_space_.assign(hotwords.is_phrase_.size(), false);
    for (std::size_t state = 0; state < hotwords.is_phrase_.size(); ++state)
        hotwords.is_after_space_[hotwords.next(static_cast<int>(state), hotwords.space_)] = true;
    return hotwords;
}

void Hotwords::build(const std::vector<std::string>& phrases) {
    std::size_t letters = 0;
    for (const std::string& phrase : phrases) letters += phrase.size() + 1;
    if (letters == 0 || letters > kMostLetters)
        throw std::invalid_argument("hotwords must have 1 to " + std::to_string(kMostLetters) + " letters altogether");
    add_state();
    for (const std::string& phrase : phrases) insert(phrase);
    link();
    // A text begins with a word, even where its first piece does not say so.
    start_ = next(kRoot, space_);
}

void Hotwords::spell_pieces(const std::vector<std::string>& pieces) {
    symbol_of_byte_.assign(256, kNone);
    first_symbol_.push_back(0);  // the blank spells nothing
    for (const std::string& piece : pieces) {
        first_symbol_.push_back(static_cast<int>(spelling_.size()));
        for (const char letter : with_spaces(piece)) {
            int& symbol = symbol_of_byte_[static_cast<unsigned char>(letter)];
            if (symbol == kNone) symbol = static_cast<int>(symbols_++);
            spelling_.push_back(static_cast<std::uint8_t>(symbol));
        }
    }
    space_ = symbol_of_byte_[' '];
    if (space_ == kNone) throw std::invalid_argument("no piece starts a word");
}

// Bytes that no phrase has share a symbol.
void Hotwords::spell_bytes(const std::vector<std::string>& phrases, const std::vector<std::string>& pieces) {
    symbol_of_byte_.assign(256, kNone);
    const auto add = [this](char letter) {
        int& symbol = symbol_of_byte_[static_cast<unsigned char>(letter)];
        if (symbol == kNone) symbol = static_cast<int>(symbols_++);
    };
    add(' ');
    for (const std::string& phrase : phrases) std::ranges::for_each(phrase, add);
    space_ = symbol_of_byte_[' '];
    const int other = static_cast<int>(symbols_++);
    for (const std::string& piece : pieces) {
        first_symbol_.push_back(static_cast<int>(spelling_.size()));
        for (const char letter : piece) {
            const int symbol = symbol_of_byte_[static_cast<unsigned char>(word_byte(letter))];
            spelling_.push_back(static_cast<std::uint8_t>(symbol == kNone ? other : symbol));
        }
    }
}

int Hotwords::add_state() {
    next_.resize(next_.size() + symbols_, kNone);
    for (std::vector<float>* values : {&gain_, &pending_, &value_, &paid_}) values->push_back(0.0f);
    is_phrase_.push_back(false);
    return static_cast<int>(is_phrase_.size()) - 1;
}

int Hotwords::symbol_of(char letter, const std::string& phrase) const {
    const int symbol = symbol_of_byte_[static_cast<unsigned char>(letter)];
    if (symbol == kNone)
        throw std::invalid_argument("hotword '" + phrase + "' holds a letter that the model cannot write");
    return symbol;
}

void Hotwords::insert(const std::string& phrase) {
    if (phrase.empty() || phrase.front() == ' ' || phrase.back() == ' ')
        throw std::invalid_argument("a hotword must be words");
    int state = kRoot;
    for (const char letter : " " + phrase + " ") {
        const int symbol = symbol_of(letter, phrase);
        if (next(state, symbol) == kNone) {
            const int child = add_state();
            value_[child] = value_[state] + (symbol == space_ ? 0.0f : bonus_per_letter_);
            next(state, symbol) = child;
        }
        state = next(state, symbol);
    }
    is_phrase_[state] = true;
}

// Breadth first, so that what a state falls back to is complete before it. Afterwards every state has a next one for
// every symbol.
void Hotwords::link() {
    std::vector<int> failure(is_phrase_.size(), kRoot), queue = {kRoot};
    for (std::size_t at = 0; at < queue.size(); ++at) {
        const int state = queue[at];
        for (int symbol = 0; symbol < static_cast<int>(symbols_); ++symbol) {
            const int child = next(state, symbol);
            const int fallback = state == kRoot ? kRoot : next(failure[state], symbol);
            if (child == kNone) {
                next(state, symbol) = fallback;
                continue;
            }
            failure[child] = fallback;
            settle(state, symbol, child, fallback);
            queue.push_back(child);
        }
    }
}

// A phrase within a phrase is paid when it is complete; the longer one then brings only what is left of its own value.
void Hotwords::settle(int parent, int symbol, int child, int failure) {
    gain_[child] = symbol == space_ ? gain_[failure] : 0.0f;
    if (is_phrase_[child]) gain_[child] = std::max(gain_[child], value_[child] - paid_[parent]);
    paid_[child] = paid_[parent] + gain_[child];
    pending_[child] = std::max(value_[child] - paid_[child], pending_[failure]);
}

Hotwords::Step Hotwords::advance(int state, int token) const {
    const std::size_t end = token + 1 < outputs() ? first_symbol_[token + 1] : spelling_.size();
    float gain = 0.0f;
    for (std::size_t at = first_symbol_[token]; at < end; ++at) {
        if (spelling_[at] == space_ && !is_after_space_.empty() && is_after_space_[state]) continue;
        state = next(state, spelling_[at]);
        gain += gain_[state];
    }
    return {state, gain};
}

std::size_t Hotwords::resident_bytes() const {
    return sizeof(Hotwords) + next_.capacity() * sizeof(int) + 4 * gain_.capacity() * sizeof(float) +
           spelling_.capacity();
}

}  // namespace onebit
