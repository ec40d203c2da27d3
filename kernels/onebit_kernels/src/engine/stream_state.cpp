#include "stream_state.h"

#include <algorithm>
#include <cstring>

namespace onebit {

StreamState::StreamState(const Model& model, const CacheOperations& cache, int chunk)
    : mel(static_cast<std::size_t>(kRememberedMelFrames) * model.config.mel_bins), model_(&model), cache_(&cache) {
    const ModelConfig& config = model.config;
    if (chunk == kSegmentChunk) return;
    std::size_t bytes = 0;
    const auto reserve = [&bytes](std::size_t count) {
        constexpr std::size_t kAlignment = 64;
        const std::size_t place = bytes;
        bytes += (count + kAlignment - 1) / kAlignment * kAlignment;
        return place;
    };
    for (int i = 0; i < config.blocks; ++i) {
        const int stem_frames = chunk * kStemFramesPerUnit;
        Block block{.capacity = i < config.average_after ? stem_frames : stem_frames / kAverage};
        block.keys_values = reserve(config.left_chunks * block_bytes(block));
        block.scales = reserve(cache.has_scales ? sizeof(float) * config.left_chunks * 2 * config.heads : 0);
        block.convolution = reserve((config.convolution_kernel - 1) * config.d_model * cache.element_bytes);
        blocks_.push_back(block);
    }
    std::memset(memory_.ensure(bytes), 0, bytes);
}

void StreamState::reset() {
    std::ranges::fill(mel, 0.0f);
    greedy = CtcSearch();
    if (beam) beam->reset();
    if (encoded) encoded->clear();
    stem_frames = 0;
    chunks = 0;
}

void StreamState::search(const float* log_probabilities, int frames, int stride, std::vector<Token>& tokens) {
    if (beam)
        beam->advance(log_probabilities, frames, stride, tokens);
    else
        greedy.advance(log_probabilities, frames, model_->config.outputs(), stride, tokens);
}

std::size_t StreamState::block_bytes(const Block& block) const {
    return 2 * static_cast<std::size_t>(block.capacity) * model_->config.d_model * cache_->element_bytes;
}

KeyBlock StreamState::place(const Block& block, int chunk) {
    const ModelConfig& config = model_->config;
    const int index = chunk % config.left_chunks;
    const std::size_t bytes = block_bytes(block);
    std::byte* keys = memory_.data() + block.keys_values + index * bytes;
    float* scales = nullptr;
    if (cache_->has_scales)
        scales = reinterpret_cast<float*>(memory_.data() + block.scales) +
                 static_cast<std::ptrdiff_t>(index) * 2 * config.heads;
    return {keys,           keys + bytes / 2, scales,
            block.capacity, block.capacity,   static_cast<std::ptrdiff_t>(block.capacity) * config.head_dim()};
}

KeyBlock StreamState::key_block(int block, int age) { return place(blocks_[block], chunks - age); }

void StreamState::keep(int block, const KeyBlock& current) {
    const KeyBlock kept = place(blocks_[block], chunks);
    std::memcpy(kept.keys, current.keys, block_bytes(blocks_[block]));
    if (cache_->has_scales) std::copy_n(current.scales, 2 * model_->config.heads, kept.scales);
}

std::size_t StreamState::resident_bytes() const {
    return mel.capacity() * sizeof(float) + memory_.bytes() + (beam ? beam->resident_bytes() : 0) +
           (encoded ? encoded->resident_bytes() : 0);
}

}  // namespace onebit
