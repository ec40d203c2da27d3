// The convolution module. Its depthwise part is causal: a span of gated_ begins with the taps - 1 inputs before it,
// those that the stream remembers or zeros at the start of a segment.
#include <algorithm>

#include "encoder.h"

namespace onebit {

// Row -(taps - 1) is the oldest remembered one, row 0 the first of this step.
float* Encoder::gated_row(int span, int row) const {
    const int past = config_.convolution_kernel - 1;
    return gated_.data() +
           static_cast<std::ptrdiff_t>(first_piece(span).row + past * (span + 1) + row) * config_.d_model;
}

void Encoder::open_convolution(int index, const std::vector<StreamStep>& steps) {
    const int past = config_.convolution_kernel - 1;
    const std::size_t count = static_cast<std::size_t>(past) * config_.d_model;
    for (int s = 0; s < static_cast<int>(steps.size()); ++s) {
        const StreamState& state = steps[s].stream->state();
        if (state.remembered_chunks() > 0) {
            cache_.read(state.convolution(index), gated_row(s, -past), count);
        } else {
            std::fill_n(gated_row(s, -past), count, 0.0f);
        }
    }
}

void Encoder::expand(const BlockWeights& weights, const Tile& tile, Desk& desk) {
    const int d = config_.d_model;
    normalise(weights.convolution_norm, row(tile.row), desk.normed.data(), tile.rows);
    linear(weights.expand, {desk.normed.data(), tile.rows, d, d}, {desk.wide.data(), 2 * d}, desk);
    for (int p = tile.first_piece; p < tile.first_piece + tile.pieces; ++p) {
        const Piece& piece = layout_->pieces[p];
        const float* expanded = desk.wide.data() + static_cast<std::ptrdiff_t>(piece.row - tile.row) * 2 * d;
        operations_.gated_linear_unit(expanded, gated_row(piece.span, piece.row - first_piece(piece.span).row),
                                      piece.rows, d);
    }
}

void Encoder::convolve(const BlockWeights& weights, const Tile& tile, Desk& desk) {
    const int d = config_.d_model, taps = config_.convolution_kernel;
    const DepthwiseWeights depthwise{weights.depthwise.weight.data(), weights.depthwise.bias.data(), taps, d};
    const NormWeights& norm = weights.inner_norm.at(bits_);
    float *normed = desk.normed.data(), *wide = desk.wide.data();
    for (int p = tile.first_piece; p < tile.first_piece + tile.pieces; ++p) {
        const Piece& piece = layout_->pieces[p];
        const float* window = gated_row(piece.span, piece.row - first_piece(piece.span).row - (taps - 1));
        operations_.depthwise(window, depthwise, normed + static_cast<std::ptrdiff_t>(piece.row - tile.row) * d,
                              piece.rows);
    }
    operations_.layer_norm_silu(normed, norm.weight.data(), norm.bias.data(), normed, tile.rows, d);
    linear(weights.project, {normed, tile.rows, d, d}, {wide, d}, desk);
    add_residual(tile, wide, 1.0f);
}

void Encoder::keep_convolution(int index, const std::vector<StreamStep>& steps) {
    const int past = config_.convolution_kernel - 1;
    for (int s = 0; s < static_cast<int>(steps.size()); ++s) {
        if (steps[s].step.last) continue;
        const float* newest = gated_row(s, rows_of(s) - past);
        cache_.write(newest, steps[s].stream->state().convolution(index),
                     static_cast<std::size_t>(past) * config_.d_model);
    }
}

}  // namespace onebit
