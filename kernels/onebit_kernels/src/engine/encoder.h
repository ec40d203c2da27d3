// The Conformer on the stacked rows of several streams (onebit_model/network.py states the same in torch).
//
// Row-wise layers run on tiles of stacked rows, attention and convolution per stream; a row never sees a row of another
// stream. All memory is the encoder's own and only grows.
#pragma once

#include <span>
#include <vector>

#include "../model/model.h"
#include "buffer.h"
#include "layout.h"
#include "stage_clock.h"
#include "stream.h"

namespace onebit {

struct StreamStep {
    Stream* stream;
    Stream::Step step;
    std::size_t first_sample;  // in the encoder's sample buffer
};

class Encoder {
public:
    Encoder(const Model& model, int bits, bool exact);

    // Makes all memory for these steps; returns the buffer of their samples, `samples` floats.
    float* prepare(const std::vector<StreamStep>& steps, std::size_t samples);

    // Advances the state of every stream by its step and appends to its `fresh` results.
    void run(const std::vector<StreamStep>& steps);

    StageClock clock;
    std::size_t resident_bytes() const;

private:
    void lay_out(const std::vector<StreamStep>& steps, int divisor, Layout& layout);
    void reserve_tiles();

    void stem(const StreamStep& step, int first_row);
    void stem_piece(const StreamStep& step, const float* samples, int mel_frames, float* out, int rows, bool last);
    void add_positions(float* x, int first_position, int rows);

    void block(int index, const std::vector<StreamStep>& steps);
    void feed_forward(const Tile& tile, const Norm& norm, const gemm::PackedMatrix& up, const gemm::PackedMatrix& down,
                      void (*activation)(float*, std::size_t));
    void project_queries_keys_values(const BlockWeights& weights, const Tile& tile);
    void attend(int index, const StreamStep& step, int span);
    void attention_output(const BlockWeights& weights, const Tile& tile);
    void convolution(int index, const std::vector<StreamStep>& steps, const Tile& tile);
    void convolve_piece(int index, Stream& stream, const Piece& piece, const float* expanded, float* out);
    void average_frames(const std::vector<StreamStep>& steps);
    void search(const std::vector<StreamStep>& steps);

    void normalise(const Norm& norm, const float* x, float* y, int rows) const;
    void linear(const gemm::PackedMatrix& weights, const float* x, int rows, std::ptrdiff_t stride, float* y);
    void add_residual(const Tile& tile, const float* y, float factor);
    float* row(int index) const { return x_.data() + static_cast<std::ptrdiff_t>(index) * config_.d_model; }
    KeyBlock current_block(const Piece& piece) const;
    std::size_t key_bytes(int frames) const;

    const Model& model_;
    const ModelConfig& config_;
    const Operations& operations_;
    const CacheOperations& cache_;
    int bits_;
    gemm::Mode mode_;
    int logit_stride_;

    Layout stem_rate_;
    Layout output_rate_;
    Layout* layout_ = nullptr;  // of the block that runs
    std::vector<SpanRows> span_rows_;
    std::vector<KeyBlock> key_blocks_;

    Buffer<float> samples_;
    Buffer<float> x_;                // (rows, d_model) the residual stream
    Buffer<float> queries_;          // (rows, d_model), then what attention makes of them
    Buffer<std::byte> keys_values_;  // key blocks of this step's pieces
    Buffer<float> key_scales_;       // (pieces, 2, heads)
    Buffer<float> scratch_;          // attention and log-mel
    Buffer<float> normed_;           // (tile rows, d_model)
    Buffer<float> wide_;             // (tile rows, the widest layer)
    Buffer<float> window_;           // (taps - 1 + piece rows, d_model) inputs of the depthwise convolution
    Buffer<float> mel_;              // (2 + mel frames of a piece, mel_bins)
    Buffer<float> hidden_;           // (1 + mel frames of a piece, d_model)
    Buffer<float> position_;         // (d_model)
    Buffer<float> logits_;           // (tile rows, logit_stride)
    Buffer<std::byte> gemm_workspace_;
};

}  // namespace onebit
