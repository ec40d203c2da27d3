#include "piece_search.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <string>
#include <utility>

namespace onebit {
namespace {

constexpr std::size_t kChoicesWithHotwords = 32;  // a hotword's pieces may be far from the likeliest ones
constexpr std::size_t kLeastRepetitions = 3;
constexpr std::size_t kLeastLoop = 20;  // pieces
constexpr std::size_t kLongestPhrase = 32;
constexpr std::size_t kLeastRepeated = 3;  // pieces: "no, no" is nothing to wonder about
constexpr std::size_t kMostRewritten = 16;

// How many pieces from the end on equal those `phrase` before them.
std::size_t periodic_pieces(std::span<const int> pieces, std::size_t phrase) {
    std::size_t equal = 0;
    while (equal + phrase < pieces.size() && *(pieces.rbegin() + static_cast<std::ptrdiff_t>(equal)) ==
                                                 *(pieces.rbegin() + static_cast<std::ptrdiff_t>(equal + phrase)))
        ++equal;
    return equal;
}

}  // namespace

std::optional<Repetition> find_loop(std::span<const int> pieces) {
    for (std::size_t phrase = 1; phrase <= std::min(kLongestPhrase, pieces.size() / kLeastRepetitions); ++phrase) {
        const std::size_t repetitions = std::max(kLeastRepetitions, (kLeastLoop + phrase - 1) / phrase);
        const std::size_t equal = periodic_pieces(pieces, phrase);
        if (equal + phrase >= repetitions * phrase) return Repetition{pieces.size() - equal - phrase, phrase};
    }
    return std::nullopt;
}

bool ends_in_a_loop(std::span<const int> pieces) { return find_loop(pieces).has_value(); }

std::optional<Repetition> find_repetition(std::span<const int> pieces, std::size_t from) {
    for (std::size_t first = from; first + 2 * kLeastRepeated <= pieces.size(); ++first) {
        for (std::size_t length = kLeastRepeated; first + 2 * length <= pieces.size(); ++length) {
            const auto phrase = pieces.subspan(first, length);
            if (std::equal(phrase.begin(), phrase.end(), pieces.begin() + static_cast<std::ptrdiff_t>(first + length)))
                return Repetition{first, length};
        }
    }
    return std::nullopt;
}

PieceSearch::PieceSearch(int width, int vocabulary, int most_pieces, std::shared_ptr<const Hotwords> hotwords)
    : width_(width),
      vocabulary_(vocabulary),
      most_pieces_(most_pieces),
      hotwords_(std::move(hotwords)),
      choices_(hotwords_ ? kChoicesWithHotwords : static_cast<std::size_t>(width) + 1),
      next_row_(static_cast<int>(kPromptPieces.size())) {
    if (width < 1 || width > kWidestPieceBeam)
        throw std::invalid_argument("beam " + std::to_string(width) + " is not 1 to " +
                                    std::to_string(kWidestPieceBeam));
    if (hotwords_ && hotwords_->outputs() != vocabulary)
        throw std::invalid_argument("the hotwords are of another vocabulary");
    // All texts that there can ever be: open ones, longer ones and ended ones.
    for (int i = 0; i < 3 * width; ++i) {
        Text& text = spare_.emplace_back();
        text.rows.reserve(kPromptPieces.size() + static_cast<std::size_t>(most_pieces));
        text.pieces.reserve(static_cast<std::size_t>(most_pieces));
        text.log_probabilities.reserve(static_cast<std::size_t>(most_pieces));
    }
    for (std::vector<Text>* texts : {&open_, &next_, &finished_}) texts->reserve(static_cast<std::size_t>(width));
    spare_.reserve(3 * static_cast<std::size_t>(width));
    candidates_.reserve(static_cast<std::size_t>(width) * choices_);
    likeliest_.reserve(choices_);
    barred_.reserve(kMostRewritten);
    open_.push_back(take_spare());
    for (int row = 0; row < next_row_; ++row) open_[0].rows.push_back(row);
    open_[0].match = hotwords_ ? hotwords_->start() : 0;
}

int PieceSearch::most_rows() const { return static_cast<int>(kPromptPieces.size()) + width_ * most_pieces_; }

PieceSearch::Text PieceSearch::take_spare() {
    Text text = std::move(spare_.back());
    spare_.pop_back();
    return text;
}

void PieceSearch::advance(const float* log_probabilities, std::ptrdiff_t stride) {
    if (!begun_) no_speech_probability_ = std::exp(log_probabilities[kNoSpeechPiece]);
    candidates_.clear();
    for (int text = 0; text < open_texts(); ++text) choose(text, log_probabilities + text * stride);
    begun_ = true;
    std::sort(candidates_.begin(), candidates_.end(), [](const Candidate& a, const Candidate& b) {
        if (a.rank != b.rank) return a.rank > b.rank;
        return a.text != b.text ? a.text < b.text : a.piece < b.piece;
    });
    const auto width = static_cast<std::size_t>(width_);
    for (const Candidate& candidate : candidates_) {
        if (next_.size() == width || finished_.size() == width) break;
        if (ends(candidate))
            finish(candidate);
        else
            prolong(candidate);
    }
    for (Text& text : open_) spare_.push_back(std::move(text));
    open_.clear();
    open_.swap(next_);
    const bool full = !open_.empty() && (open_[0].pieces.size() == static_cast<std::size_t>(most_pieces_) ||
                                         next_row_ + open_texts() > most_rows());
    if (full || open_.empty() || finished_.size() == width) return close();
    for (Text& text : open_) text.rows.push_back(next_row_++);
}

bool PieceSearch::ends(const Candidate& candidate) const {
    return candidate.piece == kEndPiece || candidate.piece == kNoSpeechPiece;
}

// The likeliest pieces that may follow; no speech is a whole text of its own, the other special pieces are never
// written.
void PieceSearch::choose(int text, const float* log_probabilities) {
    const auto less = [](const Piece& a, const Piece& b) {
        return a.log_probability != b.log_probability ? a.log_probability > b.log_probability : a.id < b.id;
    };
    likeliest_.clear();
    float least = -std::numeric_limits<float>::infinity();  // nothing below it is among them
    const auto offer = [&](int id) {
        if (is_barred(open_[text], id)) return;
        const Piece piece{id, log_probabilities[id]};
        if (likeliest_.size() == choices_) {
            if (!less(piece, likeliest_.front())) return;
            std::pop_heap(likeliest_.begin(), likeliest_.end(), less);
            likeliest_.back() = piece;
        } else {
            likeliest_.push_back(piece);
        }
        std::push_heap(likeliest_.begin(), likeliest_.end(), less);
        if (likeliest_.size() == choices_) least = likeliest_.front().log_probability;
    };
    offer(kEndPiece);
    if (!begun_) offer(kNoSpeechPiece);
    for (int id = kFirstWrittenPiece; id < vocabulary_; ++id)
        if (log_probabilities[id] >= least) offer(id);
    for (const Piece& piece : likeliest_) add(text, piece.id, piece.log_probability);
}

void PieceSearch::add(int index, int piece, float log_probability) {
    const Text& text = open_[index];
    Candidate candidate{index, piece, log_probability, text.bonus, text.match, text.score + log_probability};
    if (hotwords_) {
        if (ends(candidate)) {
            candidate.bonus += hotwords_->end_gain(text.match);
            candidate.rank += candidate.bonus;
        } else {
            const Hotwords::Step step = hotwords_->advance(text.match, piece);
            candidate.match = step.state;
            candidate.bonus += step.gain;
            candidate.rank += candidate.bonus + hotwords_->pending(step.state);
        }
    }
    candidates_.push_back(candidate);
}

void PieceSearch::copy(const Text& from, Text& to) const {
    to.rows.assign(from.rows.begin(), from.rows.end());
    to.pieces.assign(from.pieces.begin(), from.pieces.end());
    to.log_probabilities.assign(from.log_probabilities.begin(), from.log_probabilities.end());
    to.score = from.score;
    to.joint = from.joint;
    to.bonus = from.bonus;
    to.match = from.match;
    to.looped = from.looped;
}

void PieceSearch::finish(const Candidate& candidate) {
    finished_.push_back(take_spare());
    Text& text = finished_.back();
    copy(open_[candidate.text], text);
    text.score += candidate.log_probability;
    text.bonus = candidate.bonus;
}

// A text that says the same again and again would do so for ever: it ends here.
void PieceSearch::prolong(const Candidate& candidate) {
    next_.push_back(take_spare());
    Text& text = next_.back();
    copy(open_[candidate.text], text);
    text.pieces.push_back(candidate.piece);
    text.log_probabilities.push_back(candidate.log_probability);
    text.score += candidate.log_probability;
    text.bonus = candidate.bonus;
    text.match = candidate.match;
    if (!ends_in_a_loop(text.pieces)) return;
    text.looped = true;
    finished_.push_back(std::move(text));
    next_.pop_back();
}

// Texts that are still open have found no end.
void PieceSearch::close() {
    ended_ = true;
    if (!finished_.empty()) return;
    for (Text& text : open_) {
        text.looped = true;
        finished_.push_back(std::move(text));
    }
    open_.clear();
}

void PieceSearch::join(int text, float ctc_log_probability, float ctc_weight) {
    finished_[text].joint = ctc_weight * (ctc_log_probability - finished_[text].score);
}

float PieceSearch::worth(const Text& text) const {
    return (text.score + text.joint + text.bonus) / static_cast<float>(text.pieces.size() + 1);
}

std::size_t PieceSearch::best_index() const {
    const auto best = std::max_element(finished_.begin(), finished_.end(), [this](const Text& a, const Text& b) {
        return a.looped != b.looped ? a.looped : worth(a) < worth(b);
    });
    return static_cast<std::size_t>(best - finished_.begin());
}

bool PieceSearch::is_barred(const Text& text, int piece) const {
    return std::ranges::any_of(
        barred_, [&](const Barred& barred) { return barred.length == text.pieces.size() && barred.piece == piece; });
}

// Its last piece is computed once more, in a row of its own, for what may follow it is not remembered.
bool PieceSearch::rewrite(std::size_t length) {
    if (next_row_ == most_rows() || barred_.size() == kMostRewritten) return false;
    std::swap(finished_[best_index()], finished_.back());
    Text text = std::move(finished_.back());
    finished_.pop_back();
    for (std::vector<Text>* texts : {&finished_, &open_}) {
        for (Text& other : *texts) spare_.push_back(std::move(other));
        texts->clear();
    }
    std::erase_if(barred_, [length](const Barred& barred) { return barred.length > length; });
    barred_.push_back({length, text.pieces[length]});
    shorten(text, length);
    text.rows.back() = next_row_++;
    open_.push_back(std::move(text));
    ended_ = false;
    return true;
}

void PieceSearch::shorten(Text& text, std::size_t length) const {
    text.rows.resize(kPromptPieces.size() + length);
    text.pieces.resize(length);
    text.log_probabilities.resize(length);
    text.score = std::accumulate(text.log_probabilities.begin(), text.log_probabilities.end(), 0.0f);
    text.joint = text.bonus = 0.0f;
    text.looped = false;
    text.match = hotwords_ ? hotwords_->start() : 0;
    for (std::size_t i = 0; hotwords_ && i < length; ++i) {
        const Hotwords::Step step = hotwords_->advance(text.match, text.pieces[i]);
        text.match = step.state;
        text.bonus += step.gain;
    }
}

std::size_t PieceSearch::resident_bytes() const {
    const std::size_t piece_bytes = 2 * sizeof(int) + sizeof(float);
    return sizeof(PieceSearch) + 3 * static_cast<std::size_t>(width_ * most_pieces_) * piece_bytes;
}

}  // namespace onebit
