// What the encoder remembers of a stream between chunks.
#pragma once

#include <cstddef>
#include <vector>

#include "../model/model.h"
#include "ctc.h"

namespace onebit {

inline constexpr int kSegmentChunk = 0;       // chunk value: the whole segment at once
inline constexpr int kStemFramesPerUnit = 4;  // a chunk counts units of 80 ms: 4 stem frames, 2 output frames
inline constexpr int kAverage = 2;            // stem frames in an output frame
inline constexpr int kMelFramesPerStemFrame = 2;
inline constexpr int kStemFrameSamples = kMelFramesPerStemFrame * kHopSamples;
inline constexpr int kOutputFrameSamples = kAverage * kStemFrameSamples;

// The stem sees two convolutions of three frames: it keeps the last two mel frames and the last frame between them.
struct StemState {
    std::vector<float> mel;     // (2, mel_bins)
    std::vector<float> hidden;  // (d_model), after the first convolution
};

// One block: keys and values of the last `left_chunks` chunks, and the last inputs of the depthwise convolution.
struct BlockState {
    int capacity = 0;                     // frames of a chunk at this block's frame rate
    std::vector<std::byte> keys_values;   // (left_chunks, keys | values), head_stride = capacity * head_dim
    std::vector<float> scales;            // (left_chunks, 2, heads), if the cache has scales
    std::vector<std::byte> convolution;   // (taps - 1, d_model)
};

class StreamState {
public:
    // A segment needs no blocks: everything that its attention sees is there at once.
    StreamState(const Model& model, const CacheOperations& cache, int chunk);

    void reset();

    // What the stream remembers of the chunk `age` chunks ago, 1 <= age <= min(chunks, left_chunks); age 0 is the place of
    // the current one, which is that of the oldest.
    KeyBlock key_block(BlockState& block, int age);
    // Keeps the current chunk's block, which lies like one of these.
    void keep(BlockState& block, const KeyBlock& current);

    StemState stem;
    std::vector<BlockState> blocks;
    CtcSearch search;
    int stem_frames = 0;  // computed since the start of the segment
    int chunks = 0;

private:
    std::size_t block_bytes(const BlockState& block) const;  // of keys and values

    const Model* model_;
    const CacheOperations* cache_;
};

}  // namespace onebit
