#include "encoder.h"

#include <algorithm>

namespace onebit {
namespace {

constexpr int kLogitQuantum = 16;
constexpr int kMelFramesOfPiece = kMelFramesPerStemFrame * std::max(kPieceRows, kLongestChunk);

int widest_layer(const ModelConfig& config) {
    return std::max({config.feed_forward1, config.feed_forward2, 3 * config.d_model});
}

}  // namespace

Encoder::Encoder(const Model& model, int bits, bool exact, int threads)
    : model_(model),
      config_(model.config),
      operations_(*model.operations),
      cache_(exact ? operations_.exact_cache : operations_.fast_cache),
      bits_(bits),
      mode_(exact ? gemm::Mode::exact : gemm::Mode::fast),
      logit_stride_((config_.outputs() + kLogitQuantum - 1) / kLogitQuantum * kLogitQuantum),
      pool_(threads),
      desks_(threads) {}

// ------------------------------------------------------------------------------------------------------------- memory

float* Encoder::prepare(const std::vector<StreamStep>& steps, std::size_t samples) {
    lay_out(steps, 1, stem_rate_);
    lay_out(steps, kAverage, output_rate_);
    const std::size_t d = config_.d_model, spans = steps.size();
    std::size_t mel_rows = 0;
    for (const StreamStep& step : steps) mel_rows += kMelFramesPerStemFrame * step.step.stem_frames + 3;
    mel_.ensure(mel_rows * config_.mel_bins);
    x_.ensure(stem_rate_.rows * d);
    queries_.ensure(stem_rate_.rows * d);
    gated_.ensure((stem_rate_.rows + spans * (config_.convolution_kernel - 1)) * d);
    keys_values_.ensure(key_bytes(2 * std::max(stem_rate_.key_frames, output_rate_.key_frames)));
    key_scales_.ensure(std::max(stem_rate_.pieces.size(), output_rate_.pieces.size()) * 2 * config_.heads);
    logits_.ensure(static_cast<std::size_t>(output_rate_.rows) * logit_stride_);
    reserve_desks(reserve_key_blocks(steps));
    return samples_.ensure(samples);
}

void Encoder::lay_out(const std::vector<StreamStep>& steps, int divisor, Layout& layout) {
    span_rows_.clear();
    for (const StreamStep& step : steps)
        span_rows_.push_back({step.step.stem_frames / divisor, step.stream->chunk() * kStemFramesPerUnit / divisor});
    layout.build(span_rows_);
}

// Returns the most frames that a query sees, padding included.
int Encoder::reserve_key_blocks(const std::vector<StreamStep>& steps) {
    int padded_keys = 0;
    std::size_t blocks = 0;
    for (const StreamStep& step : steps) {
        const int capacity = step.stream->chunk() * kStemFramesPerUnit;
        padded_keys =
            std::max({padded_keys, (config_.left_chunks + 1) * capacity, step.step.stem_frames + kLongestChunk});
        blocks += config_.left_chunks;
    }
    key_blocks_.reserve(blocks + std::max(stem_rate_.pieces.size(), output_rate_.pieces.size()));
    first_key_block_.reserve(steps.size() + 1);
    return padded_keys;
}

void Encoder::reserve_desks(int padded_keys) {
    const std::size_t d = config_.d_model, rows = kTileMaximumRows;
    for (Desk& desk : desks_) {
        desk.normed.ensure(rows * d);
        desk.wide.ensure(rows * widest_layer(config_));
        desk.hidden.ensure(static_cast<std::size_t>(1 + kMelFramesOfPiece) * d);
        desk.position.ensure(d);
        desk.scratch.ensure(std::max(attention_scratch(config_.head_dim(), padded_keys), std::size_t{kLogMelScratch}));
        desk.gemm_workspace.ensure(gemm::linear_workspace_bytes(std::max(widest_layer(config_), 3 * config_.mel_bins)));
    }
}

std::size_t Encoder::key_bytes(int frames) const {
    return static_cast<std::size_t>(frames) * config_.d_model * cache_.element_bytes;
}

std::size_t Encoder::resident_bytes() const {
    std::size_t bytes = samples_.bytes() + mel_.bytes() + x_.bytes() + queries_.bytes() + keys_values_.bytes() +
                        key_scales_.bytes() + gated_.bytes() + logits_.bytes();
    for (const Desk& desk : desks_)
        bytes += desk.normed.bytes() + desk.wide.bytes() + desk.hidden.bytes() + desk.position.bytes() +
                 desk.scratch.bytes() + desk.gemm_workspace.bytes();
    return bytes;
}

// ------------------------------------------------------------------------------------------------------------ the path

void Encoder::run(const std::vector<StreamStep>& steps) {
    const int spans = static_cast<int>(steps.size());
    clock.start();
    layout_ = &stem_rate_;
    stem(steps);
    for (int i = 0; i < config_.blocks; ++i) {
        block(i, steps);
        if (i + 1 == config_.average_after) average_frames();
    }
    pool_.run(static_cast<int>(layout_->tiles.size()), [&](int t, int worker) {
        head(steps, layout_->tiles[t], desks_[worker]);
        charge(worker, Stage::head);
    });
    for (int s = 0; s < spans; ++s) search(steps[s], s);
    clock.charge(Stage::search);
}

void Encoder::block(int index, const std::vector<StreamStep>& steps) {
    const BlockWeights& weights = model_.blocks[index];
    const int tiles = static_cast<int>(layout_->tiles.size()), spans = static_cast<int>(steps.size());
    pool_.run(tiles, [&](int t, int worker) {
        const Tile& tile = layout_->tiles[t];
        feed_forward(tile, weights.ff1_norm, weights.ff1_up, weights.ff1_down, operations_.silu, desks_[worker]);
        charge(worker, Stage::feed_forward);
        project_queries_keys_values(weights, tile, desks_[worker]);
        charge(worker, Stage::projections);
    });
    gather_key_blocks(index, steps);
    pool_.run(spans * config_.heads,
              [&](int task, int worker) { attend(task / config_.heads, task % config_.heads, desks_[worker]); });
    for (int s = 0; s < spans; ++s)
        if (!steps[s].step.last) steps[s].stream->state().keep(index, key_blocks_[first_key_block_[s + 1] - 1]);
    open_convolution(index, steps);
    clock.charge(Stage::attention);
    pool_.run(tiles, [&](int t, int worker) {
        attention_output(weights, layout_->tiles[t], desks_[worker]);
        charge(worker, Stage::projections);
        expand(weights, layout_->tiles[t], desks_[worker]);
        charge(worker, Stage::convolution);
    });
    pool_.run(tiles, [&](int t, int worker) {
        const Tile& tile = layout_->tiles[t];
        convolve(weights, tile, desks_[worker]);
        charge(worker, Stage::convolution);
        feed_forward(tile, weights.ff2_norm, weights.ff2_up, weights.ff2_down, operations_.gelu, desks_[worker]);
        charge(worker, Stage::feed_forward);
    });
    keep_convolution(index, steps);
}

// -------------------------------------------------------------------------------------------------------------- layers

void Encoder::normalise(const Norm& norm, const float* x, float* y, int rows) const {
    const NormWeights& weights = norm.at(bits_);
    operations_.layer_norm(x, weights.weight.data(), weights.bias.data(), y, rows, config_.d_model);
}

void Encoder::linear(const Layer& layer, const gemm::ConstRows& x, const gemm::Rows& y, Desk& desk) const {
    layer.multiply(x, bits_, mode_, y, desk.gemm_workspace.data());
}

void Encoder::add_residual(const Tile& tile, const float* y, float factor) {
    operations_.add_scaled(row(tile.row), y, factor, static_cast<std::size_t>(tile.rows) * config_.d_model);
}

void Encoder::feed_forward(const Tile& tile, const Norm& norm, const Layer& up, const Layer& down,
                           void (*activation)(float*, std::size_t), Desk& desk) {
    const int d = config_.d_model;
    float *normed = desk.normed.data(), *wide = desk.wide.data();
    normalise(norm, row(tile.row), normed, tile.rows);
    linear(up, {normed, tile.rows, d, d}, {wide, up.rows()}, desk);
    activation(wide, static_cast<std::size_t>(tile.rows) * up.rows());
    linear(down, {wide, tile.rows, up.rows(), up.rows()}, {normed, d}, desk);
    add_residual(tile, normed, 0.5f);
}

void Encoder::average_frames() {
    operations_.average_pairs(x_.data(), x_.data(), output_rate_.rows, config_.d_model);
    layout_ = &output_rate_;
    clock.charge(Stage::other);
}

// -------------------------------------------------------------------------------------------------------------- search

void Encoder::head(const std::vector<StreamStep>& steps, const Tile& tile, Desk& desk) {
    const int d = config_.d_model;
    float *normed = desk.normed.data(),
          *logits = logits_.data() + static_cast<std::ptrdiff_t>(tile.row) * logit_stride_;
    normalise(model_.final_norm, row(tile.row), normed, tile.rows);
    for (int p = tile.first_piece; p < tile.first_piece + tile.pieces; ++p) {
        const Piece& piece = layout_->pieces[p];
        if (EncodedFrames* encoded = steps[piece.span].stream->state().encoded.get())
            encoded->write(piece.row - first_piece(piece.span).row,
                           normed + static_cast<std::ptrdiff_t>(piece.row - tile.row) * d, piece.rows);
    }
    linear(model_.head, {normed, tile.rows, d, d}, {logits, logit_stride_}, desk);
    operations_.log_softmax(logits, tile.rows, config_.outputs(), logit_stride_);
}

void Encoder::search(const StreamStep& step, int span) {
    Stream& stream = *step.stream;
    StreamState& state = stream.state();
    const int rows = rows_of(span), outputs = config_.outputs();
    const float* logits = logits_.data() + static_cast<std::ptrdiff_t>(first_piece(span).row) * logit_stride_;
    state.search(logits, rows, logit_stride_, stream.fresh().tokens);
    if (stream.keeps_logits())
        for (int r = 0; r < rows; ++r, logits += logit_stride_)
            stream.fresh().logits.insert(stream.fresh().logits.end(), logits, logits + outputs);
    if (state.encoded) state.encoded->append(rows);
    state.stem_frames += step.step.stem_frames;
    ++state.chunks;
}

}  // namespace onebit
