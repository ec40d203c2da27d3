// Self-attention: keys and values of the current rows become key blocks; a chunk also sees the blocks its stream remembers.
#include <algorithm>
#include <cmath>

#include "encoder.h"

namespace onebit {

void Encoder::project_queries_keys_values(const BlockWeights& weights, const Tile& tile) {
    const int d = config_.d_model;
    const HeadShape shape{config_.heads, config_.head_dim()};
    normalise(weights.attention_norm, row(tile.row), normed_.data(), tile.rows);
    linear(weights.query_key_value, normed_.data(), tile.rows, d, wide_.data());
    for (int r = 0; r < tile.rows; ++r)
        std::copy_n(wide_.data() + static_cast<std::ptrdiff_t>(r) * 3 * d, d,
                    queries_.data() + static_cast<std::ptrdiff_t>(tile.row + r) * d);
    for (int p = tile.first_piece; p < tile.first_piece + tile.pieces; ++p) {
        const Piece& piece = layout_->pieces[p];
        const float* rows = wide_.data() + static_cast<std::ptrdiff_t>(piece.row - tile.row) * 3 * d;
        cache_.pack(rows + d, rows + 2 * d, 3 * d, shape, current_block(piece));
    }
    clock.charge(Stage::projections);
}

// Key blocks of a span lie head by head: keys (heads, all frames of the span, head_dim), then values.
KeyBlock Encoder::current_block(const Piece& piece) const {
    const Piece& first = layout_->pieces[layout_->first_piece_of_span[piece.span]];
    const Piece& last = layout_->pieces[layout_->first_piece_of_span[piece.span + 1] - 1];
    const int span_frames = last.place + last.capacity - first.place, head_dim = config_.head_dim();
    const std::ptrdiff_t index = &piece - layout_->pieces.data();
    std::byte* keys = keys_values_.data() + key_bytes(2 * first.place) + key_bytes(piece.place - first.place) / config_.heads;
    return {keys,       keys + key_bytes(span_frames), key_scales_.data() + index * 2 * config_.heads,
            piece.rows, piece.capacity,                static_cast<std::ptrdiff_t>(span_frames) * head_dim};
}

void Encoder::attend(int index, const StreamStep& step, int span) {
    StreamState& state = step.stream->state();
    const Piece* pieces = layout_->pieces.data() + layout_->first_piece_of_span[span];
    const int count = layout_->first_piece_of_span[span + 1] - layout_->first_piece_of_span[span];
    key_blocks_.clear();
    if (!state.blocks.empty())
        for (int age = std::min(state.chunks, config_.left_chunks); age > 0; --age)
            key_blocks_.push_back(state.key_block(state.blocks[index], age));
    int rows = 0;
    for (int p = 0; p < count; ++p) {
        key_blocks_.push_back(current_block(pieces[p]));
        rows += pieces[p].rows;
    }
    float* queries = queries_.data() + static_cast<std::ptrdiff_t>(pieces[0].row) * config_.d_model;
    const float scale = 1.0f / std::sqrt(static_cast<float>(config_.head_dim()));
    cache_.attend({queries, config_.d_model, rows, scale, {config_.heads, config_.head_dim()}, key_blocks_.data(),
                   static_cast<int>(key_blocks_.size()), queries, scratch_.data()});
    // The current chunk takes the place of the oldest one, which no later chunk sees.
    if (!state.blocks.empty() && !step.step.last) state.keep(state.blocks[index], key_blocks_.back());
}

void Encoder::attention_output(const BlockWeights& weights, const Tile& tile) {
    const int d = config_.d_model;
    linear(weights.attention_output, queries_.data() + static_cast<std::ptrdiff_t>(tile.row) * d, tile.rows, d, normed_.data());
    add_residual(tile, normed_.data(), 1.0f);
    clock.charge(Stage::projections);
}

}  // namespace onebit
