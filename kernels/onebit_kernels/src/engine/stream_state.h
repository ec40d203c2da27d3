// What the encoder remembers of a stream between chunks.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "../model/model.h"
#include "../search/beam.h"
#include "../search/ctc.h"
#include "buffer.h"
#include "encoded_frames.h"

namespace onebit {

inline constexpr int kSegmentChunk = 0;       // chunk value: the whole segment at once
inline constexpr int kStemFramesPerUnit = 4;  // a chunk counts units of 80 ms: 4 stem frames, 2 output frames
inline constexpr int kAverage = 2;            // stem frames in an output frame
inline constexpr int kMelFramesPerStemFrame = 2;
inline constexpr int kStemFrameSamples = kMelFramesPerStemFrame * kHopSamples;
inline constexpr int kOutputFrameSamples = kAverage * kStemFrameSamples;
inline constexpr int kRememberedMelFrames = 3;  // the stem is two convolutions of three frames (encoder_stem.cpp)

class StreamState {
public:
    // A segment remembers nothing of its blocks: everything that its attention sees is there at once.
    StreamState(const Model& model, const CacheOperations& cache, int chunk);

    void reset();

    // New tokens of (frames, outputs) log-probabilities, rows `stride` apart.
    void search(const float* log_probabilities, int frames, int stride, std::vector<Token>& tokens);
    int searched_frames() const { return beam ? beam->frames() : greedy.frames(); }
    int trailing_blank_frames() const { return beam ? beam->trailing_blank_frames() : greedy.trailing_blank_frames(); }

    // Chunks whose keys, values and convolution inputs are remembered, the newest first; there are left_chunks places.
    int remembered_chunks() const { return blocks_.empty() ? 0 : chunks; }

    // Keys and values of the chunk `age` chunks ago, 1 <= age <= min(remembered_chunks, left_chunks), all of its
    // frames.
    KeyBlock key_block(int block, int age);

    // The current chunk's block takes the place of the oldest one, which no later chunk sees.
    void keep(int block, const KeyBlock& current);

    // The last inputs of the depthwise convolution, (taps - 1, d_model) elements of the cache.
    const std::byte* convolution(int block) const { return memory_.data() + blocks_[block].convolution; }
    std::byte* convolution(int block) { return memory_.data() + blocks_[block].convolution; }

    std::size_t resident_bytes() const;

    std::vector<float> mel;  // (3, mel_bins) the last frames
    CtcSearch greedy;
    std::unique_ptr<BeamSearch> beam;        // instead of it, where there is one
    std::unique_ptr<EncodedFrames> encoded;  // where it is kept
    int stem_frames = 0;                     // computed since the start of the segment
    int chunks = 0;

private:
    // Places in the one memory of the stream, which the system gets back as a whole.
    struct Block {
        int capacity = 0;             // frames of a chunk at this block's frame rate
        std::size_t keys_values = 0;  // (left_chunks, keys | values), head_stride = capacity * head_dim
        std::size_t scales = 0;       // (left_chunks, 2, heads) float, if the cache has scales
        std::size_t convolution = 0;
    };

    KeyBlock place(const Block& block, int chunk);
    std::size_t block_bytes(const Block& block) const;  // of keys and values of one chunk

    const Model* model_;
    const CacheOperations* cache_;
    std::vector<Block> blocks_;
    Buffer<std::byte> memory_;
};

}  // namespace onebit
