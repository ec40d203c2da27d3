#include "ctc_spelling.h"

#include <algorithm>
#include <stdexcept>
#include <string_view>

namespace onebit {
namespace {

constexpr int kWordStart = 1;  // letter 0 is none; the others follow
constexpr int kWildcard = -1;

// Signs between words, as bytes and as those that UTF-8 writes in three (general punctuation: E2 80 and another one).
constexpr std::string_view kSilent = " \t\n.,;:!?\"()[]{}<>-_*~|\\`";
constexpr int kLeadByte = 0xe2, kMiddleByte = 0x80, kRightQuote = 0x99;

bool is_silent(std::uint8_t byte) { return kSilent.find(static_cast<char>(byte)) != std::string_view::npos; }

std::uint8_t small(std::uint8_t byte) {
    return byte >= 'A' && byte <= 'Z' ? static_cast<std::uint8_t>(byte - 'A' + 'a') : byte;
}

// Curved quotes, dashes and dots become their plain relatives, in as many bytes.
void make_plain(std::vector<std::uint8_t>& bytes) {
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        bytes[i] = small(bytes[i]);
        if (i < 2 || bytes[i - 2] != kLeadByte || bytes[i - 1] != kMiddleByte) continue;
        const bool is_apostrophe = bytes[i] == kRightQuote;
        std::fill_n(bytes.begin() + static_cast<std::ptrdiff_t>(i) - 2, 3, is_apostrophe ? 0 : ' ');
        if (is_apostrophe) bytes[i] = '\'';
    }
}

}  // namespace

int SpelledText::letters() const {
    return static_cast<int>(std::ranges::count_if(symbols, [](int symbol) { return symbol != kWordStart; }));
}

bool SpelledText::is_letter(int symbol) const { return symbols[symbol] != kWordStart; }

bool SpelledText::may_end_before(int symbol) const {
    return (symbols[symbol] == kWordStart || symbols[symbol] == kWildcard) && symbols[symbol - 1] != kWildcard &&
           piece_of_symbol[symbol] != piece_of_symbol[symbol - 1];
}

bool CtcSpelling::opens_word(int piece) const {
    const std::string& bytes = pieces_[piece];
    return bytes.starts_with(' ') &&
           std::ranges::all_of(bytes, [](char byte) { return is_silent(static_cast<std::uint8_t>(byte)); });
}

CtcSpelling::CtcSpelling(const std::vector<std::string>& pieces, const std::vector<std::string>& ctc_pieces)
    : pieces_(pieces), trie_(1), letters_(kWordStart), ctc_outputs_(static_cast<int>(ctc_pieces.size()) + 1) {
    for (const std::string& piece : pieces) longest_piece_ = std::max(longest_piece_, piece.size());
    for (std::size_t i = 0; i < ctc_pieces.size(); ++i) insert(ctc_pieces[i], static_cast<int>(i) + 1);
    const std::vector<int>& first = trie_[0].children;
    if (first.size() <= kWordStart || first[kWordStart] == 0) throw std::invalid_argument("no piece starts a word");
}

void CtcSpelling::insert(const std::string& ctc_piece, int token) {
    static const std::string kMark = "\u2581";
    std::size_t node = 0, length = 0;
    for (std::size_t at = 0; at < ctc_piece.size(); ++length) {
        const bool starts = ctc_piece.compare(at, kMark.size(), kMark) == 0;
        int& letter = letter_of_byte_[static_cast<unsigned char>(ctc_piece[at])];
        if (!starts && letter == 0) letter = ++letters_;
        const auto symbol = static_cast<std::size_t>(starts ? kWordStart : letter);
        at += starts ? kMark.size() : 1;
        if (trie_[node].children.size() <= symbol) trie_[node].children.resize(symbol + 1);
        if (trie_[node].children[symbol] == 0) {
            trie_[node].children[symbol] = static_cast<int>(trie_.size());
            trie_.emplace_back();
        }
        node = static_cast<std::size_t>(trie_[node].children[symbol]);
    }
    trie_[node].token = token;
    longest_ctc_piece_ = std::max(longest_ctc_piece_, length);
}

// Every other byte may be a word, which begins with a symbol of its own.
void CtcSpelling::reserve(int pieces, SpelledText& spelled) const {
    const std::size_t symbols = 2 * static_cast<std::size_t>(pieces) * longest_piece_;
    for (std::vector<int>* values : {&spelled.symbols, &spelled.piece_of_symbol, &spelled.piece_of_byte})
        values->reserve(symbols);
    spelled.bytes.reserve(symbols);
    spelled.arcs.reserve(symbols * longest_ctc_piece_);
}

void CtcSpelling::spell(std::span<const int> pieces, SpelledText& spelled) const {
    for (std::vector<int>* values : {&spelled.symbols, &spelled.piece_of_symbol, &spelled.piece_of_byte})
        values->clear();
    spelled.bytes.clear();
    spelled.arcs.clear();
    for (std::size_t i = 0; i < pieces.size(); ++i)
        for (const char byte : pieces_[pieces[i]]) {
            spelled.bytes.push_back(static_cast<std::uint8_t>(byte));
            spelled.piece_of_byte.push_back(static_cast<int>(i));
        }
    make_plain(spelled.bytes);
    for (std::size_t begin = 0, end; begin < spelled.bytes.size(); begin = end) {
        end = begin;
        while (end < spelled.bytes.size() && !is_silent(spelled.bytes[end])) ++end;
        if (end > begin) add_word(begin, end, spelled);
        while (end < spelled.bytes.size() && is_silent(spelled.bytes[end])) ++end;
    }
    add_arcs(spelled);
}

// Quotes around a word are no letters of it; a zero is what is left of a curved one.
void CtcSpelling::add_word(std::size_t begin, std::size_t end, SpelledText& spelled) const {
    const auto is_quote = [&](std::size_t i) { return spelled.bytes[i] == '\'' || spelled.bytes[i] == 0; };
    while (begin < end && is_quote(begin)) ++begin;
    while (end > begin && is_quote(end - 1)) --end;
    if (begin == end) return;
    const auto add = [&](int symbol, std::size_t i) {
        spelled.symbols.push_back(symbol);
        spelled.piece_of_symbol.push_back(spelled.piece_of_byte[i]);
    };
    const auto is_written = [&](std::uint8_t byte) { return byte == 0 || letter_of_byte_[byte] != 0; };
    if (!std::all_of(spelled.bytes.begin() + static_cast<std::ptrdiff_t>(begin),
                     spelled.bytes.begin() + static_cast<std::ptrdiff_t>(end), is_written))
        return add(kWildcard, begin);
    add(kWordStart, begin);
    for (std::size_t i = begin; i < end; ++i)
        if (spelled.bytes[i] != 0) add(letter_of_byte_[spelled.bytes[i]], i);
}

void CtcSpelling::add_arcs(SpelledText& spelled) const {
    const int count = static_cast<int>(spelled.symbols.size());
    for (int begin = 0; begin < count; ++begin) {
        if (spelled.symbols[begin] == kWildcard) {
            spelled.arcs.push_back({begin, begin + 1, kWildcardToken});
            continue;
        }
        std::size_t node = 0;
        for (int end = begin; end < count && spelled.symbols[end] != kWildcard;) {
            const std::vector<int>& children = trie_[node].children;
            const auto symbol = static_cast<std::size_t>(spelled.symbols[end++]);
            if (symbol >= children.size() || children[symbol] == 0) break;
            node = static_cast<std::size_t>(children[symbol]);
            if (trie_[node].token != 0) spelled.arcs.push_back({begin, end, trie_[node].token});
        }
    }
}

std::size_t CtcSpelling::resident_bytes() const {
    std::size_t bytes = sizeof(CtcSpelling) + trie_.capacity() * sizeof(Node);
    for (const Node& node : trie_) bytes += node.children.capacity() * sizeof(int);
    for (const std::string& piece : pieces_) bytes += sizeof(std::string) + piece.capacity();
    return bytes;
}

}  // namespace onebit
