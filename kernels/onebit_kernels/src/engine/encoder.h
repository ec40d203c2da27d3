// The Conformer on the stacked rows of several streams (onebit_model/network/conformer.py states the same in torch).
//
// Row-wise layers run on tiles of stacked rows, attention and convolution per stream; a row never sees a row of another
// stream. Work is cut into tasks that do not depend on one another; where there is a pool, its threads share them.
// All memory is the encoder's own and only grows.
#pragma once

#include <vector>

#include "../model/model.h"
#include "buffer.h"
#include "layout.h"
#include "stage_clock.h"
#include "stream.h"
#include "worker_pool.h"

namespace onebit {

struct StreamStep {
    Stream* stream;
    Stream::Step step;
    std::size_t first_sample;  // in the encoder's sample buffer
};

class Encoder {
public:
    Encoder(const Model& model, int bits, bool exact, int threads);

    // Makes all memory for these steps; returns the buffer of their samples, `samples` floats.
    float* prepare(const std::vector<StreamStep>& steps, std::size_t samples);

    // Advances the state of every stream by its step and appends to its `fresh` results.
    void run(const std::vector<StreamStep>& steps);

    StageClock clock;  // of the calling thread
    std::size_t resident_bytes() const;

private:
    // Memory of one worker, for one task.
    struct Desk {
        Buffer<float> normed;    // (tile rows, d_model)
        Buffer<float> wide;      // (tile rows, the widest layer)
        Buffer<float> hidden;    // (1 + mel frames of a piece, d_model), between the convolutions of the stem
        Buffer<float> position;  // (d_model)
        Buffer<float> scratch;   // of attention and log-mel
        Buffer<std::byte> gemm_workspace;
    };

    void lay_out(const std::vector<StreamStep>& steps, int divisor, Layout& layout);
    void reserve_desks(int padded_keys);
    int reserve_key_blocks(const std::vector<StreamStep>& steps);

    void stem(const std::vector<StreamStep>& steps);
    void open_mel(const StreamStep& step, int span);
    void log_mel(const StreamStep& step, const Piece& piece, Desk& desk);
    void convolve_stem(const StreamStep& step, const Piece& piece, Desk& desk);
    void add_positions(int first_position, const Piece& piece, Desk& desk);

    void block(int index, const std::vector<StreamStep>& steps);
    void feed_forward(const Tile& tile, const Norm& norm, const Layer& up, const Layer& down,
                      void (*activation)(float*, std::size_t), Desk& desk);
    void project_queries_keys_values(const BlockWeights& weights, const Tile& tile, Desk& desk);
    void gather_key_blocks(int index, const std::vector<StreamStep>& steps);
    void attend(int span, int head, Desk& desk);
    void attention_output(const BlockWeights& weights, const Tile& tile, Desk& desk);
    void open_convolution(int index, const std::vector<StreamStep>& steps);
    void expand(const BlockWeights& weights, const Tile& tile, Desk& desk);
    void convolve(const BlockWeights& weights, const Tile& tile, Desk& desk);
    void keep_convolution(int index, const std::vector<StreamStep>& steps);
    void average_frames();
    void head(const std::vector<StreamStep>& steps, const Tile& tile, Desk& desk);
    void search(const StreamStep& step, int span);

    void normalise(const Norm& norm, const float* x, float* y, int rows) const;
    void linear(const Layer& layer, const gemm::ConstRows& x, const gemm::Rows& y, Desk& desk) const;
    void add_residual(const Tile& tile, const float* y, float factor);
    void charge(int worker, Stage stage) {
        if (worker == 0) clock.charge(stage);
    }

    const Piece& first_piece(int span) const { return layout_->pieces[layout_->first_piece_of_span[span]]; }
    const Piece& last_piece(int span) const { return layout_->pieces[layout_->first_piece_of_span[span + 1] - 1]; }
    int rows_of(int span) const { return last_piece(span).row + last_piece(span).rows - first_piece(span).row; }
    float* row(int index) const { return x_.data() + static_cast<std::ptrdiff_t>(index) * config_.d_model; }
    float* mel_row(int span, int frame) const;
    float* gated_row(int span, int row) const;
    KeyBlock current_block(const Piece& piece) const;
    std::size_t key_bytes(int frames) const;

    const Model& model_;
    const ModelConfig& config_;
    const Operations& operations_;
    const CacheOperations& cache_;
    int bits_;
    gemm::Mode mode_;
    int logit_stride_;
    WorkerPool pool_;

    Layout stem_rate_;
    Layout output_rate_;
    Layout* layout_ = nullptr;  // of the block that runs
    std::vector<SpanRows> span_rows_;
    std::vector<KeyBlock> key_blocks_;  // what each span sees, one span after the other
    std::vector<int> first_key_block_;  // one more than spans

    Buffer<float> samples_;
    Buffer<float> mel_;              // per span: (3 + mel frames + 1, mel_bins), see encoder_stem.cpp
    Buffer<float> x_;                // (rows, d_model) the residual stream
    Buffer<float> queries_;          // (rows, d_model), then what attention makes of them
    Buffer<std::byte> keys_values_;  // key blocks of this step's pieces
    Buffer<float> key_scales_;       // (pieces, 2, heads)
    Buffer<float> gated_;            // per span: (taps - 1 + rows, d_model), inputs of the depthwise convolution
    Buffer<float> logits_;           // (output rows, logit_stride)
    std::vector<Desk> desks_;        // one per worker
};

}  // namespace onebit
