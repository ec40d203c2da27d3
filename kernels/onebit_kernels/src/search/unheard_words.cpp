#include "unheard_words.h"

#include <algorithm>

namespace onebit {
namespace {

// By so much, as a log-probability per letter: docs/search.md.
constexpr float kUnheardLetter = 3.0f;
constexpr int kLeastLetters = 6;
// What stays must have been heard: its letters cost at most this much beside what CTC would have said itself.
constexpr float kHeardLetter = 1.5f;

}  // namespace

std::size_t heard_pieces(std::span<const int> pieces, const SpelledText& text, const CtcSpelling& spelling,
                         const CtcLattice& lattice, float likelihood) {
    if (!lattice.aligned(text)) return pieces.size();
    const int all_letters = text.letters();
    const float loudest = lattice.loudest();
    float most = 0.0f;
    int end = 0, letters = 0;
    for (int symbol = static_cast<int>(text.symbols.size()) - 1; symbol > 0; --symbol) {
        letters += text.is_letter(symbol);
        if (letters < kLeastLetters || !text.may_end_before(symbol)) continue;
        const float until = lattice.best_until(symbol);
        if (loudest - until > kHeardLetter * static_cast<float>(all_letters - letters)) continue;
        const float gain = until - likelihood;
        if (gain > std::max(most, kUnheardLetter * static_cast<float>(letters))) {
            most = gain;
            end = symbol;
        }
    }
    if (end == 0) return pieces.size();
    auto length = static_cast<std::size_t>(text.piece_of_symbol[end]);
    while (length > 1 && spelling.opens_word(pieces[length - 1])) --length;
    return length;
}

}  // namespace onebit
