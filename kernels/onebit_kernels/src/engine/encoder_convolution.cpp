// The convolution module: its depthwise part is causal and remembers the last taps - 1 inputs of a stream.
#include <algorithm>

#include "encoder.h"

namespace onebit {

void Encoder::convolution(int index, const std::vector<StreamStep>& steps, const Tile& tile) {
    const BlockWeights& weights = model_.blocks[index];
    const int d = config_.d_model;
    normalise(weights.convolution_norm, row(tile.row), normed_.data(), tile.rows);
    linear(weights.expand, normed_.data(), tile.rows, d, wide_.data());
    for (int p = tile.first_piece; p < tile.first_piece + tile.pieces; ++p) {
        const Piece& piece = layout_->pieces[p];
        const std::ptrdiff_t first = piece.row - tile.row;
        convolve_piece(index, *steps[piece.span].stream, piece, wide_.data() + first * 2 * d, normed_.data() + first * d);
    }
    linear(weights.project, normed_.data(), tile.rows, d, wide_.data());
    add_residual(tile, wide_.data(), 1.0f);
    clock.charge(Stage::convolution);
}

// window_ holds the last taps - 1 inputs, then those of this piece; pieces of a span follow one another.
void Encoder::convolve_piece(int index, Stream& stream, const Piece& piece, const float* expanded, float* out) {
    const BlockWeights& weights = model_.blocks[index];
    const int d = config_.d_model, taps = config_.convolution_kernel;
    const std::size_t past = static_cast<std::size_t>(taps - 1) * d;
    std::vector<BlockState>& states = stream.state().blocks;
    float* window = window_.data();
    if (piece.first) {
        if (states.empty()) {
            std::fill_n(window, past, 0.0f);
        } else {
            cache_.read(states[index].convolution.data(), window, past);
        }
    }
    operations_.gated_linear_unit(expanded, window + past, piece.rows, d);
    operations_.depthwise(window, {weights.depthwise.weight.data(), weights.depthwise.bias.data(), taps, d}, out, piece.rows);
    const NormWeights& norm = weights.inner_norm.at(bits_);
    operations_.layer_norm_silu(out, norm.weight.data(), norm.bias.data(), out, piece.rows, d);
    const float* tail = window + static_cast<std::ptrdiff_t>(piece.rows) * d;
    if (!piece.last) {
        std::copy_n(tail, past, window);
    } else if (!states.empty()) {
        cache_.write(tail, states[index].convolution.data(), past);
    }
}

}  // namespace onebit
