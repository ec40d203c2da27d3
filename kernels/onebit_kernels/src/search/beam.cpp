#include "beam.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>

namespace onebit {
namespace {

// Of a frame only tokens that could still matter make new texts: its best ones, and none less probable than e^-9. Texts
// that are in the beam already are scored in full.
constexpr std::size_t kMostChoices = 16;
constexpr float kLeastLogProbability = -9.0f;

constexpr float kImpossible = -std::numeric_limits<float>::infinity();
constexpr std::uint64_t kEmptyText = 0;

float add_logs(float a, float b) {
    const float larger = std::max(a, b), smaller = std::min(a, b);
    return smaller == kImpossible ? larger : larger + std::log1p(std::exp(smaller - larger));
}

// The finaliser of SplitMix64 (Steele et al., 2014): two texts of a beam share a hash once in 2^58 frames.
std::uint64_t longer_text(std::uint64_t text, int token) {
    std::uint64_t hash = text + 0x9e3779b97f4a7c15u * static_cast<std::uint64_t>(token + 1);
    hash = (hash ^ (hash >> 30)) * 0xbf58476d1ce4e5b9u;
    hash = (hash ^ (hash >> 27)) * 0x94d049bb133111ebu;
    return hash ^ (hash >> 31);
}

Token with_confidence(Token token) {
    token.confidence = std::exp(token.confidence / static_cast<float>(token.frames));
    return token;
}

}  // namespace

BeamSearch::BeamSearch(int width, int outputs, std::shared_ptr<const Hotwords> hotwords,
                       std::shared_ptr<const LanguageModel> language_model)
    : width_(static_cast<std::size_t>(width)),
      outputs_(outputs),
      hotwords_(std::move(hotwords)),
      language_model_(std::move(language_model)) {
    if (width < 2 || width > kWidestBeam)
        throw std::invalid_argument("beam " + std::to_string(width) + " is not 2 to " + std::to_string(kWidestBeam));
    if (hotwords_ && hotwords_->outputs() != outputs)
        throw std::invalid_argument("the hotwords are of another vocabulary");
    if (language_model_ && language_model_->outputs() != outputs)
        throw std::invalid_argument("the language model is of another vocabulary");
    hypotheses_.resize(width_);
    next_.resize(width_);
    choices_.reserve(static_cast<std::size_t>(outputs));
    candidates_.reserve(width_ * (kMostChoices + 1));
    order_.reserve(width_ * (kMostChoices + 1));
    reset();
}

void BeamSearch::reset() {
    Hypothesis& empty = hypotheses_[0];
    empty.scores = {.blank = 0.0f,
                    .token = kImpossible,
                    .total = 0.0f,
                    .bonus = 0.0f,
                    .match = hotwords_ ? hotwords_->start() : 0,
                    .context = language_model_ ? language_model_->start() : 0,
                    .rank = 0.0f};
    empty.prefix = empty.parent = kEmptyText;
    empty.last = kBlank;
    empty.path.count = 0;
    count_ = 1;
    frame_ = trailing_blank_frames_ = 0;
}

void BeamSearch::advance(const float* log_probabilities, int frames, int stride, std::vector<Token>& tokens) {
    for (int t = 0; t < frames; ++t, ++frame_, log_probabilities += stride) {
        const bool is_blank =
            std::max_element(log_probabilities, log_probabilities + outputs_) == log_probabilities + kBlank;
        trailing_blank_frames_ = is_blank ? trailing_blank_frames_ + 1 : 0;
        step(log_probabilities);
        decide(tokens);
    }
}

void BeamSearch::step(const float* log_probabilities) {
    choose_tokens(log_probabilities);
    candidates_.clear();
    const int count = static_cast<int>(count_);
    for (int i = 0; i < count; ++i) stay(i, log_probabilities);
    least_rank_ = kImpossible;
    if (count_ == width_)
        least_rank_ =
            std::min_element(candidates_.begin(), candidates_.end(), [](const Candidate& a, const Candidate& b) {
                return a.scores.rank < b.scores.rank;
            })->scores.rank;
    for (int i = 0; i < count; ++i) extend(i);
    survive(log_probabilities);
}

void BeamSearch::choose_tokens(const float* log_probabilities) {
    choices_.clear();
    for (int id = kBlank + 1; id < outputs_; ++id)
        if (log_probabilities[id] > kLeastLogProbability) choices_.push_back({id, log_probabilities[id]});
    if (choices_.size() <= kMostChoices) return;
    const auto better = [](const Choice& a, const Choice& b) {
        return a.log_probability != b.log_probability ? a.log_probability > b.log_probability : a.id < b.id;
    };
    std::nth_element(choices_.begin(), choices_.begin() + kMostChoices, choices_.end(), better);
    choices_.resize(kMostChoices);
}

// A text that is there already: a blank follows, its last token goes on, or the text before it comes to it once more.
void BeamSearch::stay(int index, const float* log_probabilities) {
    const Hypothesis& text = hypotheses_[index];
    const float blank = text.scores.total + log_probabilities[kBlank];
    Candidate candidate = {text.scores, index, index, text.last, Move::keep};
    candidate.scores.blank = blank;
    candidate.scores.token = kImpossible;
    if (text.last != kBlank) {
        const float again = text.scores.token + log_probabilities[text.last];
        candidate.scores.token = again;
        if (again > blank) candidate.move = Move::prolong;
        if (const int shorter = before(text); shorter != kNew) {
            const Hypothesis& source = hypotheses_[shorter];
            const float from = source.last == text.last ? source.scores.blank : source.scores.total;
            const float anew = from + log_probabilities[text.last];
            candidate.scores.token = add_logs(again, anew);
            if (anew > std::max(again, blank)) candidate.move = Move::append, candidate.path = shorter;
        }
    }
    candidate.scores.total = add_logs(candidate.scores.blank, candidate.scores.token);
    add(candidate);
}

void BeamSearch::extend(int index) {
    const Hypothesis& text = hypotheses_[index];
    if (text.path.count == kMostWaiting) return;
    for (const Choice& choice : choices_) {
        // The same token twice needs a blank in between.
        const float from = choice.id == text.last ? text.scores.blank : text.scores.total;
        const float total = from + choice.log_probability;
        if (total == kImpossible || is_there(text, choice.id)) continue;
        Candidate candidate = {text.scores, kNew, index, choice.id, Move::append};
        candidate.scores.blank = kImpossible;
        candidate.scores.token = candidate.scores.total = total;
        if (hotwords_) {
            const Hotwords::Step step = hotwords_->advance(text.scores.match, choice.id);
            candidate.scores.match = step.state;
            candidate.scores.bonus += step.gain;
        }
        if (language_model_) {
            // Most cannot survive whatever the model says of them.
            if (rank(candidate.scores) + language_model_->token_bonus() < least_rank_) continue;
            const LanguageModel::Step step = language_model_->advance(text.scores.context, choice.id);
            candidate.scores.context = step.state;
            candidate.scores.bonus += step.gain;
        }
        add(candidate);
    }
}

int BeamSearch::before(const Hypothesis& text) const {
    for (std::size_t i = 0; i < count_; ++i)
        if (hypotheses_[i].prefix == text.parent) return static_cast<int>(i);
    return kNew;
}

bool BeamSearch::is_there(const Hypothesis& text, int token) const {
    for (std::size_t i = 0; i < count_; ++i)
        if (hypotheses_[i].last == token && hypotheses_[i].parent == text.prefix) return true;
    return false;
}

float BeamSearch::rank(const Scores& scores) const {
    return scores.total + scores.bonus + (hotwords_ ? hotwords_->pending(scores.match) : 0.0f);
}

void BeamSearch::add(Candidate candidate) {
    candidate.scores.rank = rank(candidate.scores);
    order_.push_back(static_cast<int>(candidates_.size()));
    candidates_.push_back(candidate);
}

void BeamSearch::survive(const float* log_probabilities) {
    const std::size_t count = std::min(width_, candidates_.size());
    const auto better = [this](int a, int b) {
        const float one = candidates_[a].scores.rank, other = candidates_[b].scores.rank;
        return one != other ? one > other : a < b;
    };
    std::partial_sort(order_.begin(), order_.begin() + static_cast<std::ptrdiff_t>(count), order_.end(), better);
    // Relative to the best text, so that numbers stay small however long the stream.
    const Scores best = candidates_[order_[0]].scores;
    for (std::size_t i = 0; i < count; ++i) {
        const Candidate& candidate = candidates_[order_[i]];
        take_over(candidate, log_probabilities[candidate.token], next_[i]);
        Scores& scores = next_[i].scores;
        scores.blank -= best.total;
        scores.token -= best.total;
        scores.total -= best.total;
        scores.bonus -= best.bonus;
    }
    order_.clear();
    hypotheses_.swap(next_);
    count_ = count;
}

void BeamSearch::take_over(const Candidate& candidate, float log_probability, Hypothesis& next) const {
    const Hypothesis& source = hypotheses_[candidate.path];
    const bool is_new = candidate.text == kNew;
    next.scores = candidate.scores;
    next.prefix = is_new ? longer_text(source.prefix, candidate.token) : hypotheses_[candidate.text].prefix;
    next.parent = is_new ? source.prefix : hypotheses_[candidate.text].parent;
    next.last = candidate.token;
    Path& path = next.path;
    std::copy_n(source.path.tokens.begin(), source.path.count, path.tokens.begin());
    path.count = source.path.count;
    if (candidate.move == Move::append) path.tokens[path.count++] = {candidate.token, frame_, 1, log_probability};
    if (candidate.move == Move::prolong) {
        Token& token = path.tokens[path.count - 1];
        ++token.frames;
        token.confidence += log_probability;
    }
}

// What all texts begin with can never change again. The last token of a text may still go on and stays.
void BeamSearch::decide(std::vector<Token>& tokens) {
    if (hypotheses_[0].path.count == kMostWaiting) drop_dissenters();
    const auto all = [this](auto holds) {
        return std::all_of(hypotheses_.begin(), hypotheses_.begin() + static_cast<std::ptrdiff_t>(count_), holds);
    };
    const Path& best = hypotheses_[0].path;
    while (all([&best](const Hypothesis& text) {
        return text.path.count >= 2 && text.path.tokens[0].id == best.tokens[0].id;
    })) {
        tokens.push_back(decided());
        for (std::size_t i = 0; i < count_; ++i) {
            Path& path = hypotheses_[i].path;
            std::copy(path.tokens.begin() + 1, path.tokens.begin() + path.count, path.tokens.begin());
            --path.count;
        }
    }
}

// The first token of the best text. Another text may win, whose alignment has the next token earlier: this one must be
// over by then.
Token BeamSearch::decided() const {
    int limit = hypotheses_[0].path.tokens[1].frame;
    for (std::size_t i = 1; i < count_; ++i) limit = std::min(limit, hypotheses_[i].path.tokens[1].frame);
    Token token = with_confidence(hypotheses_[0].path.tokens[0]);
    token.frame = std::min(token.frame, limit - 1);
    token.frames = std::min(token.frames, limit - token.frame);
    return token;
}

// The best text has no room for another token: those that begin otherwise give way, and its beginning is decided.
void BeamSearch::drop_dissenters() {
    const int first = hypotheses_[0].path.tokens[0].id;
    std::size_t kept = 1;
    for (std::size_t i = 1; i < count_; ++i) {
        const Path& path = hypotheses_[i].path;
        if (path.count < 2 || path.tokens[0].id != first) continue;
        if (kept != i) std::swap(hypotheses_[kept], hypotheses_[i]);
        ++kept;
    }
    count_ = kept;
}

// A match of a hotword that is not complete counts for nothing. Nor does the bonus of one token, once all is heard:
// with it noise would become a word. Before the end it lets a first word be seen as soon as it is heard.
const BeamSearch::Hypothesis& BeamSearch::best(bool ended) const {
    const float first_token = ended && language_model_ ? language_model_->token_bonus() : 0.0f;
    const auto worth = [this, first_token](const Hypothesis& text) {
        return text.scores.total + text.scores.bonus + (hotwords_ ? hotwords_->end_gain(text.scores.match) : 0.0f) -
               (text.last == kBlank ? 0.0f : first_token);
    };
    const auto end = hypotheses_.begin() + static_cast<std::ptrdiff_t>(count_);
    return *std::max_element(hypotheses_.begin(), end,
                             [&worth](const Hypothesis& a, const Hypothesis& b) { return worth(a) < worth(b); });
}

void BeamSearch::tentative(bool ended, std::vector<Token>& tokens) const {
    const Path& path = best(ended).path;
    tokens.clear();
    for (int i = 0; i < path.count; ++i) tokens.push_back(with_confidence(path.tokens[i]));
}

std::size_t BeamSearch::resident_bytes() const {
    return sizeof(BeamSearch) + 2 * width_ * sizeof(Hypothesis) + choices_.capacity() * sizeof(Choice) +
           candidates_.capacity() * (sizeof(Candidate) + sizeof(int));
}

}  // namespace onebit
