#include "piece_search.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>

namespace onebit {
namespace {

constexpr std::size_t kChoicesWithHotwords = 32;  // a hotword's pieces may be far from the likeliest ones
constexpr std::size_t kLeastRepetitions = 3;
constexpr std::size_t kLeastLoop = 20;  // pieces
constexpr std::size_t kLongestPhrase = 32;

}  // namespace

bool ends_in_a_loop(std::span<const int> pieces) {
    for (std::size_t phrase = 1; phrase <= std::min(kLongestPhrase, pieces.size() / kLeastRepetitions); ++phrase) {
        const std::size_t repetitions = std::max(kLeastRepetitions, (kLeastLoop + phrase - 1) / phrase);
        if (repetitions * phrase > pieces.size()) continue;
        const auto tail = pieces.last(repetitions * phrase);
        if (std::equal(tail.begin() + static_cast<std::ptrdiff_t>(phrase), tail.end(), tail.begin())) return true;
    }
    return false;
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
    const bool full = !open_.empty() && open_[0].pieces.size() == static_cast<std::size_t>(most_pieces_);
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

const PieceSearch::Text& PieceSearch::best() const {
    return *std::max_element(finished_.begin(), finished_.end(), [this](const Text& a, const Text& b) {
        return a.looped != b.looped ? a.looped : worth(a) < worth(b);
    });
}

std::size_t PieceSearch::resident_bytes() const {
    const std::size_t piece_bytes = 2 * sizeof(int) + sizeof(float);
    return sizeof(PieceSearch) + 3 * static_cast<std::size_t>(width_ * most_pieces_) * piece_bytes;
}

}  // namespace onebit
