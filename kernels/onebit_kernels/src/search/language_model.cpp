#include "language_model.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>
#include <utility>

namespace onebit {

LanguageModel::LanguageModel(Trie trie, int outputs, float weight, float token_bonus)
    : trie_(std::move(trie)),
      outputs_(outputs),
      weight_(weight),
      token_bonus_(token_bonus),
      inner_(static_cast<int>(trie_.children.size())) {
    first_child_.reserve(trie_.children.size() + 1);
    int next = kRoot + 1;
    for (const std::uint16_t count : trie_.children) {
        first_child_.push_back(next);
        next += count;
    }
    first_child_.push_back(next);
    check();
    link();
    if (const int begin = child(kRoot, 0); begin != kNone && begin < inner_) start_ = settled(begin);
}

void LanguageModel::check() const {
    const auto require = [](bool holds, const char* problem) {
        if (!holds) throw std::invalid_argument(std::string("language model: ") + problem);
    };
    const std::size_t nodes = trie_.tokens.size() + 1;
    require(weight_ >= 0.0f && std::isfinite(weight_), "its weight must not be negative");
    require(std::isfinite(token_bonus_), "its token bonus must be finite");
    require(inner_ > 0 && trie_.backoffs.size() == trie_.children.size(),
            "one back-off weight per count of children is due");
    require(trie_.log_probabilities.size() == trie_.tokens.size(), "one log-probability per token is due");
    require(static_cast<std::size_t>(first_child_.back()) == nodes,
            "the counts of children do not add up to the nodes");
    for (int node = 0; node < inner_; ++node) {
        require(first_child_[node] > node, "a node comes before its parent");
        for (int i = first_child_[node]; i < first_child_[node + 1]; ++i) {
            require(trie_.tokens[i - 1] < outputs_, "a token is not of the vocabulary");
            require(i == first_child_[node] || trie_.tokens[i - 2] < trie_.tokens[i - 1], "children are not sorted");
        }
    }
    for (int token = 1; token < outputs_; ++token)
        require(child(kRoot, token) != kNone, "a token of the vocabulary is missing");
}

// Parents come first, so the link of a parent is known when its children need it. A link that the trie lacks falls
// further back.
void LanguageModel::link() {
    link_.assign(static_cast<std::size_t>(inner_), kRoot);
    for (int node = 0; node < inner_; ++node) {
        const int end = std::min(first_child_[node + 1], inner_);
        for (int i = first_child_[node]; i < end; ++i) {
            if (node == kRoot) continue;
            int shorter = link_[node], found = child(shorter, trie_.tokens[i - 1]);
            while (found == kNone && shorter != kRoot)
                shorter = link_[shorter], found = child(shorter, trie_.tokens[i - 1]);
            link_[i] = found == kNone ? kRoot : found;
        }
    }
}

int LanguageModel::child(int node, int token) const {
    const auto begin = trie_.tokens.begin() + (first_child_[node] - 1),
               end = trie_.tokens.begin() + (first_child_[node + 1] - 1);
    const auto found = std::lower_bound(begin, end, token);
    return found != end && *found == token ? static_cast<int>(found - trie_.tokens.begin()) + 1 : kNone;
}

// The shortest context that means the same: one behind which nothing was seen may cost nothing to leave.
int LanguageModel::settled(int node) const {
    while (node != kRoot && !has_children(node) && backoff(node) == 0.0f) node = link_[node];
    return node;
}

LanguageModel::Step LanguageModel::advance(int state, int token) const {
    float sum = 0.0f;
    int node = state, next = child(node, token);
    while (next == kNone && node != kRoot) {
        sum += backoff(node);
        node = link_[node];
        next = child(node, token);
    }
    sum += log_probability(next);
    // A whole n-gram of the highest order is no context: its end is.
    while (next >= inner_ || next == kNone) {
        if (node == kRoot) return {kRoot, weight_ * sum + token_bonus_};
        node = link_[node];
        next = child(node, token);
    }
    return {settled(next), weight_ * sum + token_bonus_};
}

std::size_t LanguageModel::resident_bytes() const {
    const std::size_t nodes = trie_.tokens.size(), inner = static_cast<std::size_t>(inner_);
    return sizeof(LanguageModel) + nodes * 3 + inner * 3 + (2 * inner + 1) * sizeof(int);
}

}  // namespace onebit
