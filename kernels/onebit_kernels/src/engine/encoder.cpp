#include "encoder.h"

#include <algorithm>
#include <cmath>

namespace onebit {
namespace {

constexpr int kLogitQuantum = 16;
constexpr int kLongestPiece = std::max(kPieceRows, kLongestChunk);
constexpr int kMelFramesOfPiece = kMelFramesPerStemFrame * kLongestPiece;

int widest_layer(const ModelConfig& config) {
    return std::max({config.feed_forward1, config.feed_forward2, 3 * config.d_model});
}

}  // namespace

Encoder::Encoder(const Model& model, int bits, bool exact)
    : model_(model),
      config_(model.config),
      operations_(*model.operations),
      cache_(exact ? operations_.exact_cache : operations_.fast_cache),
      bits_(bits),
      mode_(exact ? gemm::Mode::exact : gemm::Mode::fast),
      logit_stride_((config_.outputs() + kLogitQuantum - 1) / kLogitQuantum * kLogitQuantum) {}

// ------------------------------------------------------------------------------------------------------------- memory

float* Encoder::prepare(const std::vector<StreamStep>& steps, std::size_t samples) {
    lay_out(steps, 1, stem_rate_);
    lay_out(steps, kAverage, output_rate_);
    const std::size_t d = config_.d_model;
    x_.ensure(stem_rate_.rows * d);
    queries_.ensure(stem_rate_.rows * d);
    keys_values_.ensure(key_bytes(2 * std::max(stem_rate_.key_frames, output_rate_.key_frames)));
    key_scales_.ensure(std::max(stem_rate_.pieces.size(), output_rate_.pieces.size()) * 2 * config_.heads);
    int padded_keys = 0, blocks = 0;
    for (const Layout* layout : {&stem_rate_, &output_rate_}) {
        for (std::size_t s = 0; s < steps.size(); ++s) {
            const Piece& first = layout->pieces[layout->first_piece_of_span[s]];
            const Piece& last = layout->pieces[layout->first_piece_of_span[s + 1] - 1];
            const int left = steps[s].stream->chunk() == kSegmentChunk ? 0 : config_.left_chunks;
            padded_keys = std::max(padded_keys, last.place + last.capacity - first.place + left * first.capacity);
            blocks = std::max(blocks, layout->first_piece_of_span[s + 1] - layout->first_piece_of_span[s] + left);
        }
    }
    key_blocks_.reserve(blocks);
    scratch_.ensure(std::max(attention_scratch(config_.head_dim(), padded_keys), static_cast<std::size_t>(kLogMelScratch)));
    reserve_tiles();
    return samples_.ensure(samples);
}

void Encoder::reserve_tiles() {
    const std::size_t d = config_.d_model, rows = kTileMaximumRows;
    normed_.ensure(rows * d);
    wide_.ensure(rows * widest_layer(config_));
    window_.ensure((config_.convolution_kernel - 1 + rows) * d);
    mel_.ensure(static_cast<std::size_t>(2 + kMelFramesOfPiece + 1) * config_.mel_bins);
    hidden_.ensure(static_cast<std::size_t>(1 + kMelFramesOfPiece) * d);
    position_.ensure(d);
    logits_.ensure(rows * logit_stride_);
    gemm_workspace_.ensure(gemm::linear_workspace_bytes(std::max({widest_layer(config_), 3 * config_.mel_bins})));
}

void Encoder::lay_out(const std::vector<StreamStep>& steps, int divisor, Layout& layout) {
    span_rows_.clear();
    for (const StreamStep& step : steps)
        span_rows_.push_back({step.step.stem_frames / divisor, step.stream->chunk() * kStemFramesPerUnit / divisor});
    layout.build(span_rows_);
}

std::size_t Encoder::key_bytes(int frames) const {
    return static_cast<std::size_t>(frames) * config_.d_model * cache_.element_bytes;
}

std::size_t Encoder::resident_bytes() const {
    return samples_.bytes() + x_.bytes() + queries_.bytes() + keys_values_.bytes() + scratch_.bytes() + normed_.bytes() +
           wide_.bytes() + window_.bytes() + mel_.bytes() + hidden_.bytes() + logits_.bytes() + gemm_workspace_.bytes();
}

// -------------------------------------------------------------------------------------------------------------- layers

void Encoder::normalise(const Norm& norm, const float* x, float* y, int rows) const {
    const NormWeights& weights = norm.at(bits_);
    operations_.layer_norm(x, weights.weight.data(), weights.bias.data(), y, rows, config_.d_model);
}

void Encoder::linear(const gemm::PackedMatrix& weights, const float* x, int rows, std::ptrdiff_t stride, float* y) {
    const int bits = weights.holds(8) ? 8 : bits_;
    gemm::linear({x, rows, weights.columns, stride}, weights, bits, mode_, {y, weights.rows}, gemm_workspace_.data());
}

void Encoder::add_residual(const Tile& tile, const float* y, float factor) {
    operations_.add_scaled(row(tile.row), y, factor, static_cast<std::size_t>(tile.rows) * config_.d_model);
}

void Encoder::run(const std::vector<StreamStep>& steps) {
    clock.start();
    layout_ = &stem_rate_;
    for (std::size_t s = 0; s < steps.size(); ++s) stem(steps[s], stem_rate_.pieces[stem_rate_.first_piece_of_span[s]].row);
    for (int i = 0; i < config_.blocks; ++i) {
        block(i, steps);
        if (i + 1 == config_.average_after) average_frames(steps);
    }
    search(steps);
    for (const StreamStep& step : steps) {
        StreamState& state = step.stream->state();
        state.stem_frames += step.step.stem_frames;
        ++state.chunks;
    }
    clock.charge(Stage::other);
}

void Encoder::block(int index, const std::vector<StreamStep>& steps) {
    const BlockWeights& weights = model_.blocks[index];
    for (const Tile& tile : layout_->tiles) {
        feed_forward(tile, weights.ff1_norm, weights.ff1_up, weights.ff1_down, operations_.silu);
        project_queries_keys_values(weights, tile);
    }
    for (std::size_t s = 0; s < steps.size(); ++s) attend(index, steps[s], static_cast<int>(s));
    clock.charge(Stage::attention);
    for (const Tile& tile : layout_->tiles) {
        attention_output(weights, tile);
        convolution(index, steps, tile);
        feed_forward(tile, weights.ff2_norm, weights.ff2_up, weights.ff2_down, operations_.gelu);
    }
}

void Encoder::feed_forward(const Tile& tile, const Norm& norm, const gemm::PackedMatrix& up, const gemm::PackedMatrix& down,
                           void (*activation)(float*, std::size_t)) {
    normalise(norm, row(tile.row), normed_.data(), tile.rows);
    linear(up, normed_.data(), tile.rows, config_.d_model, wide_.data());
    activation(wide_.data(), static_cast<std::size_t>(tile.rows) * up.rows);
    linear(down, wide_.data(), tile.rows, up.rows, normed_.data());
    add_residual(tile, normed_.data(), 0.5f);
    clock.charge(Stage::feed_forward);
}

void Encoder::average_frames(const std::vector<StreamStep>& steps) {
    (void)steps;
    operations_.average_pairs(x_.data(), x_.data(), output_rate_.rows, config_.d_model);
    layout_ = &output_rate_;
    clock.charge(Stage::other);
}

void Encoder::search(const std::vector<StreamStep>& steps) {
    const int outputs = config_.outputs();
    for (const Tile& tile : layout_->tiles) {
        normalise(model_.final_norm, row(tile.row), normed_.data(), tile.rows);
        gemm::linear({normed_.data(), tile.rows, config_.d_model, config_.d_model}, model_.head, 8, mode_,
                     {logits_.data(), logit_stride_}, gemm_workspace_.data());
        operations_.log_softmax(logits_.data(), tile.rows, outputs, logit_stride_);
        clock.charge(Stage::head);
        for (int p = tile.first_piece; p < tile.first_piece + tile.pieces; ++p) {
            const Piece& piece = layout_->pieces[p];
            Stream& stream = *steps[piece.span].stream;
            const float* rows = logits_.data() + static_cast<std::ptrdiff_t>(piece.row - tile.row) * logit_stride_;
            stream.state().search.advance(rows, piece.rows, outputs, logit_stride_, stream.fresh().tokens);
            if (!stream.keeps_logits()) continue;
            for (int r = 0; r < piece.rows; ++r, rows += logit_stride_)
                stream.fresh().logits.insert(stream.fresh().logits.end(), rows, rows + outputs);
        }
        clock.charge(Stage::search);
    }
}

}  // namespace onebit
