// Written text in the letters of the CTC head, with every way in which its pieces can spell them.
//
// The two heads have vocabularies of their own, so a text of the decoder is a lattice to CTC: positions between
// symbols, and an arc for each CTC piece that spells some of them. Punctuation is silent. A word with anything that CTC
// has no letters for (digits, signs, other scripts) is one wildcard, which may sound like anything.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace onebit {

inline constexpr int kWildcardToken = -1;

struct CtcArc {
    int begin;  // position before its first symbol
    int end;    // position behind its last one
    int token;  // of CTC, or kWildcardToken
};

struct SpelledText {
    std::vector<int> symbols;          // letters of the spelling
    std::vector<int> piece_of_symbol;  // which piece of the text wrote it
    std::vector<CtcArc> arcs;          // those with the same beginning are neighbours, beginnings rise

    int positions() const { return static_cast<int>(symbols.size()) + 1; }
    int letters() const;  // without the beginnings of words

    // Whether a word begins with this symbol and with a piece, behind one that has letters. A text that ends before it
    // can be told by CTC from one that goes on: a wildcard at its end would sound like all that follows.
    bool may_end_before(int symbol) const;
    bool is_letter(int symbol) const;  // or a whole word without letters

    // The bytes of the text and which piece each is of, while it is spelled.
    std::vector<std::uint8_t> bytes;
    std::vector<int> piece_of_byte;
};

class CtcSpelling {
public:
    // Bytes of the decoder's pieces, ids 0 and up; CTC's pieces, of token ids 1 and up, where U+2581 starts a word.
    // Throws std::invalid_argument where no CTC piece starts a word.
    CtcSpelling(const std::vector<std::string>& pieces, const std::vector<std::string>& ctc_pieces);

    int pieces() const { return static_cast<int>(pieces_.size()); }

    // Whether a piece has a space and then only signs, as before a word in quotes.
    bool opens_word(int piece) const;
    int ctc_outputs() const { return ctc_outputs_; }

    // Replaces the contents of `spelled`; allocates nothing where `reserve` was called for as many pieces.
    void spell(std::span<const int> pieces, SpelledText& spelled) const;
    void reserve(int pieces, SpelledText& spelled) const;

    std::size_t resident_bytes() const;

private:
    struct Node {
        std::vector<int> children;  // by letter; 0: none, for nothing leads back to the root
        int token = 0;              // 0: none, for that is the blank
    };

    void insert(const std::string& ctc_piece, int token);
    void add_word(std::size_t begin, std::size_t end, SpelledText& spelled) const;
    void add_arcs(SpelledText& spelled) const;

    std::vector<std::string> pieces_;
    std::array<int, 256> letter_of_byte_{};  // 0: CTC cannot write it
    std::vector<Node> trie_;
    int letters_ = 0;
    int ctc_outputs_;
    std::size_t longest_piece_ = 1;      // bytes
    std::size_t longest_ctc_piece_ = 1;  // letters
};

}  // namespace onebit
