// Self-attention: keys and values of the current rows become key blocks; a chunk also sees the blocks its stream
// remembers.
#include <algorithm>
#include <cmath>

#include "encoder.h"

namespace onebit {

void Encoder::project_queries_keys_values(const BlockWeights& weights, const Tile& tile, Desk& desk) {
    const int d = config_.d_model;
    float *normed = desk.normed.data(), *wide = desk.wide.data();
    normalise(weights.attention_norm, row(tile.row), normed, tile.rows);
    linear(weights.query_key_value, {normed, tile.rows, d, d}, {wide, 3 * d}, desk);
    for (int r = 0; r < tile.rows; ++r)
        std::copy_n(wide + static_cast<std::ptrdiff_t>(r) * 3 * d, d,
                    queries_.data() + static_cast<std::ptrdiff_t>(tile.row + r) * d);
    for (int p = tile.first_piece; p < tile.first_piece + tile.pieces; ++p) {
        const Piece& piece = layout_->pieces[p];
        const float* rows = wide + static_cast<std::ptrdiff_t>(piece.row - tile.row) * 3 * d;
        cache_.pack(rows + d, rows + 2 * d, 3 * d, {config_.heads, config_.head_dim()}, current_block(piece));
    }
}

// Key blocks of a span lie head by head: keys (heads, all frames of the span, head_dim), then values.
KeyBlock Encoder::current_block(const Piece& piece) const {
    const Piece &first = first_piece(piece.span), &last = last_piece(piece.span);
    const int span_frames = last.place + last.capacity - first.place, head_dim = config_.head_dim();
    const std::ptrdiff_t index = &piece - layout_->pieces.data();
    std::byte* keys =
        keys_values_.data() + key_bytes(2 * first.place) + key_bytes(piece.place - first.place) / config_.heads;
    return {keys,
            keys + key_bytes(span_frames),
            key_scales_.data() + index * 2 * config_.heads,
            piece.rows,
            piece.capacity,
            static_cast<std::ptrdiff_t>(span_frames) * head_dim};
}

// In the order of time: what the stream remembers, then this step's.
void Encoder::gather_key_blocks(int index, const std::vector<StreamStep>& steps) {
    key_blocks_.clear();
    first_key_block_.clear();
    for (std::size_t s = 0; s < steps.size(); ++s) {
        StreamState& state = steps[s].stream->state();
        first_key_block_.push_back(static_cast<int>(key_blocks_.size()));
        for (int age = std::min(state.remembered_chunks(), config_.left_chunks); age > 0; --age)
            key_blocks_.push_back(state.key_block(index, age));
        for (int p = layout_->first_piece_of_span[s]; p < layout_->first_piece_of_span[s + 1]; ++p)
            key_blocks_.push_back(current_block(layout_->pieces[p]));
    }
    first_key_block_.push_back(static_cast<int>(key_blocks_.size()));
}

void Encoder::attend(int span, int head, Desk& desk) {
    const int d = config_.d_model;
    float* queries = queries_.data() + static_cast<std::ptrdiff_t>(first_piece(span).row) * d;
    cache_.attend({.queries = queries,
                   .stride = d,
                   .rows = rows_of(span),
                   .scale = 1.0f / std::sqrt(static_cast<float>(config_.head_dim())),
                   .shape = {config_.heads, config_.head_dim()},
                   .head = head,
                   .blocks = key_blocks_.data() + first_key_block_[span],
                   .block_count = first_key_block_[span + 1] - first_key_block_[span],
                   .out = queries,
                   .scratch = desk.scratch.data()});
}

void Encoder::attention_output(const BlockWeights& weights, const Tile& tile, Desk& desk) {
    const int d = config_.d_model;
    const float* attended = queries_.data() + static_cast<std::ptrdiff_t>(tile.row) * d;
    linear(weights.attention_output, {attended, tile.rows, d, d}, {desk.normed.data(), d}, desk);
    add_residual(tile, desk.normed.data(), 1.0f);
}

}  // namespace onebit
