#include "ctc_lattice.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "token.h"

namespace onebit {
namespace {

constexpr float kImpossible = -std::numeric_limits<float>::infinity();

float add_logs(float a, float b) {
    const float larger = std::max(a, b), smaller = std::min(a, b);
    return smaller == kImpossible ? larger : larger + std::log1p(std::exp(smaller - larger));
}

constexpr int most_positions(int frames) { return 2 * frames + 64; }
constexpr std::size_t most_arcs(int frames) { return 4 * static_cast<std::size_t>(most_positions(frames)); }
static_assert(most_arcs(750) + most_positions(750) < std::numeric_limits<std::uint16_t>::max());

}  // namespace

// Fifty letters a second are more than anybody says.
bool CtcLattice::fits(const SpelledText& text, int frames) {
    return text.positions() <= most_positions(frames) && text.arcs.size() <= most_arcs(frames);
}

void CtcLattice::reserve(int frames) {
    const auto positions = static_cast<std::size_t>(most_positions(frames));
    const std::size_t states = most_arcs(frames) + positions;
    loudest_.reserve(static_cast<std::size_t>(frames));
    for (std::vector<float>* values : {&before_, &after_}) values->reserve(states);
    for (std::vector<Arrival>* values : {&best_, &second_}) values->reserve(positions);
    first_arrival_.reserve(positions + 1);
    arrivals_.reserve(states);
    from_.reserve(states * static_cast<std::size_t>(frames));
}

// Before the first frame there is a blank at the first position, and nothing else.
void CtcLattice::open(const SpelledText& text, const CtcScores& scores) {
    const auto arcs = text.arcs.size(), positions = static_cast<std::size_t>(text.positions());
    before_.assign(arcs + positions, kImpossible);
    after_.assign(arcs + positions, kImpossible);
    before_[arcs] = 0.0f;
    best_.resize(positions);
    second_.resize(positions);
    first_arrival_.assign(positions + 1, 0);
    for (const CtcArc& arc : text.arcs) ++first_arrival_[arc.end + 1];
    for (std::size_t i = 1; i <= positions; ++i) first_arrival_[i] += first_arrival_[i - 1];
    arrivals_.resize(arcs);
    for (std::size_t a = arcs; a-- > 0;) {
        // Filled from behind, each position's place moves back to its beginning.
        int& place = first_arrival_[text.arcs[a].end + 1];
        arrivals_[--place] = static_cast<int>(a);
    }
    for (std::size_t i = 0; i < positions; ++i) first_arrival_[i] = first_arrival_[i + 1];
    first_arrival_[positions] = static_cast<int>(arcs);
    loudest_.clear();
    for (int t = 0; t < scores.frames; ++t) {
        const float* row = scores.log_probabilities + t * scores.stride;
        loudest_.push_back(*std::max_element(row, row + scores.outputs));
    }
}

float CtcLattice::emission(const CtcScores& scores, int frame, int token) const {
    return token == kWildcardToken ? loudest_[frame] : scores.log_probabilities[frame * scores.stride + token];
}

// The best way to every position, and the best one that ends in another token.
void CtcLattice::gather_best(const SpelledText& text) {
    const int arcs = static_cast<int>(text.arcs.size());
    for (int position = 0; position < text.positions(); ++position) {
        Arrival best{before_[arcs + position], arcs + position, kBlank}, second{kImpossible, 0, kBlank};
        for (int i = first_arrival_[position]; i < first_arrival_[position + 1]; ++i) {
            const int arc = arrivals_[i];
            const Arrival arrival{before_[arc], arc, text.arcs[arc].token};
            if (arrival.value > best.value) {
                if (arrival.token != best.token) second = best;
                best = arrival;
            } else if (arrival.value > second.value && arrival.token != best.token) {
                second = arrival;
            }
        }
        best_[position] = best;
        second_[position] = second;
    }
}

void CtcLattice::step_best(const CtcScores& scores, const SpelledText& text, int frame) {
    gather_best(text);
    const int arcs = static_cast<int>(text.arcs.size());
    std::uint16_t* from = from_.data() + static_cast<std::size_t>(frame) * before_.size();
    for (int a = 0; a < arcs; ++a) {
        const CtcArc& arc = text.arcs[a];
        const Arrival& best = best_[arc.begin];
        const Arrival& way = best.token == arc.token ? second_[arc.begin] : best;
        const bool goes_on = before_[a] >= way.value;
        from[a] = static_cast<std::uint16_t>(goes_on ? a : way.state);
        after_[a] = (goes_on ? before_[a] : way.value) + emission(scores, frame, arc.token);
    }
    for (int position = 0; position < text.positions(); ++position) {
        from[arcs + position] = static_cast<std::uint16_t>(best_[position].state);
        after_[arcs + position] = best_[position].value + emission(scores, frame, kBlank);
    }
    before_.swap(after_);
}

void CtcLattice::step_sum(const CtcScores& scores, const SpelledText& text, int frame) {
    const int arcs = static_cast<int>(text.arcs.size());
    for (int a = 0; a < arcs; ++a) {
        const CtcArc& arc = text.arcs[a];
        float value = add_logs(before_[a], before_[arcs + arc.begin]);
        for (int i = first_arrival_[arc.begin]; i < first_arrival_[arc.begin + 1]; ++i)
            if (text.arcs[arrivals_[i]].token != arc.token) value = add_logs(value, before_[arrivals_[i]]);
        after_[a] = value + emission(scores, frame, arc.token);
    }
    for (int position = 0; position < text.positions(); ++position) {
        float value = before_[arcs + position];
        for (int i = first_arrival_[position]; i < first_arrival_[position + 1]; ++i)
            value = add_logs(value, before_[arrivals_[i]]);
        after_[arcs + position] = value + emission(scores, frame, kBlank);
    }
    before_.swap(after_);
}

float CtcLattice::log_probability(const CtcScores& scores, const SpelledText& text) {
    if (!fits(text, scores.frames)) return kImpossible;
    open(text, scores);
    for (int t = 0; t < scores.frames; ++t) step_sum(scores, text, t);
    const int last = text.positions() - 1;
    float sum = before_[text.arcs.size() + static_cast<std::size_t>(last)];
    for (int i = first_arrival_[last]; i < first_arrival_[last + 1]; ++i) sum = add_logs(sum, before_[arrivals_[i]]);
    return sum;
}

float CtcLattice::align(const CtcScores& scores, const SpelledText& text, int pieces, PieceTime* times) {
    best_.clear();
    if (!fits(text, scores.frames)) return kImpossible;
    open(text, scores);
    from_.resize(before_.size() * static_cast<std::size_t>(scores.frames));
    for (int t = 0; t < scores.frames; ++t) step_best(scores, text, t);
    gather_best(text);
    const Arrival& end = best_[text.positions() - 1];
    if (end.value == kImpossible) return kImpossible;
    std::fill_n(times, pieces, PieceTime{-1, -1});
    trace(text, scores.frames, end.state, times);
    int last_end = 0;
    for (int i = 0; i < pieces; ++i) {
        if (times[i].begin < 0) times[i] = {last_end, last_end};
        last_end = times[i].end;
    }
    return end.value;
}

float CtcLattice::loudest() const { return std::accumulate(loudest_.begin(), loudest_.end(), 0.0f); }

// Backwards, so that a piece begins where its first symbol was seen last.
void CtcLattice::trace(const SpelledText& text, int frames, int state, PieceTime* times) {
    for (int t = frames - 1; t >= 0; --t) {
        if (state < static_cast<int>(text.arcs.size())) {
            const CtcArc& arc = text.arcs[state];
            for (int symbol = arc.begin; symbol < arc.end; ++symbol) {
                PieceTime& time = times[text.piece_of_symbol[symbol]];
                time = {t, time.begin < 0 ? t + 1 : time.end};
            }
        }
        state = from_[static_cast<std::size_t>(t) * before_.size() + static_cast<std::size_t>(state)];
    }
}

std::size_t CtcLattice::resident_bytes() const {
    return (loudest_.capacity() + before_.capacity() + after_.capacity()) * sizeof(float) +
           (best_.capacity() + second_.capacity()) * sizeof(Arrival) +
           (first_arrival_.capacity() + arrivals_.capacity()) * sizeof(int) + from_.capacity() * sizeof(from_[0]);
}

}  // namespace onebit
