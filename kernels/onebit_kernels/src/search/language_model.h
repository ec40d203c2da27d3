// A back-off n-gram model of the pieces of the vocabulary, for shallow fusion with the beam search.
//
// The n-grams are a trie: the children of a node are the tokens that were seen behind it, sorted. Where a token was
// not, the context gives up its oldest token, at a price (Katz, 1987). A node also knows where it goes then (`link_`),
// so that a state is one number: the longest context that the model has of a text.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace onebit {

class LanguageModel {
public:
    // The trie level by level, root first, children of one node together and in the order of their parents. Arrays are
    // by node, without the root in `tokens` and `log_probabilities`, without the last level in `backoffs` and
    // `children` (counts). Log-probabilities and back-off weights are natural logarithms in steps of 1/16: -code / 16
    // and (32 - code) / 16.
    struct Trie {
        std::vector<std::uint16_t> tokens;
        std::vector<std::uint8_t> log_probabilities;
        std::vector<std::uint8_t> backoffs;
        std::vector<std::uint16_t> children;
    };

    // Of a vocabulary with as many outputs; tokens are 1 to outputs - 1, and `begin` (0) stands before a text as a
    // context only. What a token adds to a hypothesis is weight * log p + token_bonus. Throws std::invalid_argument for
    // arrays that are no such trie, and a negative weight.
    LanguageModel(Trie trie, int outputs, float weight, float token_bonus);

    struct Step {
        int state;
        float gain;
    };

    int start() const { return start_; }
    Step advance(int state, int token) const;

    float token_bonus() const { return token_bonus_; }  // no gain is higher

    int outputs() const { return outputs_; }
    std::size_t resident_bytes() const;

private:
    static constexpr int kRoot = 0;
    static constexpr int kNone = -1;

    void check() const;
    void link();
    int child(int node, int token) const;
    int settled(int node) const;
    bool has_children(int node) const { return first_child_[node] != first_child_[node + 1]; }
    float log_probability(int node) const { return -static_cast<float>(trie_.log_probabilities[node - 1]) / 16.0f; }
    float backoff(int node) const { return (32.0f - static_cast<float>(trie_.backoffs[node])) / 16.0f; }

    Trie trie_;
    int outputs_;
    float weight_;
    float token_bonus_;
    int inner_ = 0;                 // nodes that may have children: 0 to inner_ - 1
    std::vector<int> first_child_;  // inner_ + 1
    std::vector<int> link_;         // of inner nodes: the same text without its oldest token
    int start_ = kRoot;
};

}  // namespace onebit
