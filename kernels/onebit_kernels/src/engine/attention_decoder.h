// The attention decoder on the stacked rows of several segments and their open texts
// (onebit_model/network/decoder.py states the same in torch).
//
// A row is one piece of one text; a row never sees a row of another segment, so company never changes a result. All
// memory is the decoder's own, or made when a segment is opened.
#pragma once

#include <chrono>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "../model/model.h"
#include "../search/alignment.h"
#include "../search/ctc_lattice.h"
#include "../search/ctc_spelling.h"
#include "buffer.h"
#include "decoding.h"
#include "stream.h"

namespace onebit {

using AlignmentHeads = std::vector<std::pair<int, int>>;  // block and head

class AttentionDecoder {
public:
    // `heads`: whose weights say when a piece was said; none: all heads of the upper half of the blocks. Throws
    // std::invalid_argument for a model without a decoder or without this precision, for heads that it lacks, and for a
    // spelling of other vocabularies. `spelling` may be null: CTC is then not asked.
    AttentionDecoder(std::shared_ptr<const Model> model, int bits, bool exact, const AlignmentHeads& heads,
                     std::shared_ptr<const CtcSpelling> spelling = nullptr);

    // The first `frames` frames of what the stream keeps, which goes on as before; all of them if negative. Throws
    // std::invalid_argument for a stream that keeps none, of another model, precision or mode, or that is computed now.
    std::shared_ptr<Decoding> open(const Stream& stream, int frames, const DecodingOptions& options) const;

    // Some work for each segment that is not done, in three parts, so that a caller can release its lock around the
    // second, which allocates nothing, fails at nothing, and ends as soon as it has taken this time, or all are done.
    // `begin` throws std::invalid_argument for a segment that is given twice, done, in another decoder's hands, or of
    // another model, precision or mode.
    void begin(std::span<Decoding* const> decodings);
    void compute(std::chrono::nanoseconds time);
    void end();

    int bits() const { return bits_; }
    bool exact() const { return exact_; }
    std::size_t resident_bytes() const;

private:
    // Rows of one segment, neighbours in every buffer and in its memory.
    struct Group {
        Decoding* decoding;
        int first;  // row of the step
        int rows;
        int first_row;  // of the segment's memory
        int answers;    // rows whose logits are wanted, the last ones
    };

    void check(const Decoding& decoding) const;
    void reserve_results(const Decoding& decoding);
    bool work();
    Decoding* next_projecting();
    void project(Decoding& decoding);
    bool gather();
    void add_group(Decoding& decoding);
    std::span<const int> past_of(const Group& group, int row) const;

    void embed();
    void block(int index);
    void attend_to_pieces(const DecoderBlockWeights& weights, int index);
    void attend_to_frames(const DecoderBlockWeights& weights, int index);
    void feed_forward(const DecoderBlockWeights& weights);
    void answer();
    void finish(Decoding& decoding);
    void ask_ctc(Decoding& decoding);
    bool rewrites(Decoding& decoding);
    CtcScores ctc_scores(const Decoding& decoding) const;
    void tell_times_by_attention(Decoding& decoding);
    void tell_times_by_ctc(Decoding& decoding, float likelihood);
    float align_with_ctc(const Decoding& decoding);

    void normalise(const Norm& norm, const float* x, float* y, int rows) const;
    void linear(const Layer& layer, const float* x, int rows, const gemm::Rows& y);
    void add_residual(const float* y);
    float* row(int index) const { return x_.data() + static_cast<std::ptrdiff_t>(index) * config_.d_model; }

    std::shared_ptr<const Model> model_;
    const ModelConfig& config_;
    const Operations& operations_;
    const CacheOperations& cache_;   // of pieces
    const CacheOperations& frames_;  // of frames
    int bits_;
    bool exact_;
    std::shared_ptr<const CtcSpelling> spelling_;
    int ctc_stride_;
    std::vector<bool> knows_;  // (blocks, heads) whether the head says when a piece was said

    std::vector<Decoding*> decodings_;  // of this step
    std::size_t turn_ = 0;              // whose texts are written next
    std::vector<Group> groups_;
    int rows_ = 0;
    int answers_ = 0;

    Buffer<float> x_;       // (rows, d_model) the residual stream
    Buffer<float> normed_;  // (rows, d_model)
    Buffer<float> wide_;    // (rows, the widest layer)
    Buffer<float> logits_;  // (rows, decoder_vocabulary_size)
    Buffer<float> scratch_;
    Buffer<std::byte> gemm_workspace_;
    std::vector<int> first_frames_;
    AlignmentDesk alignment_;

    Buffer<float> ctc_;  // (frames, ctc_stride) log-probabilities of one segment, where there is a spelling
    CtcLattice lattice_;
    SpelledText spelled_;
    std::vector<PieceTime> times_;
    std::vector<int> once_;
};

}  // namespace onebit
