#include "stream_state.h"

#include <algorithm>
#include <cstring>

namespace onebit {

StreamState::StreamState(const Model& model, const CacheOperations& cache, int chunk) : model_(&model), cache_(&cache) {
    const ModelConfig& config = model.config;
    stem.mel.resize(2 * static_cast<std::size_t>(config.mel_bins));
    stem.hidden.resize(config.d_model);
    if (chunk == kSegmentChunk) return;
    blocks.resize(config.blocks);
    for (int i = 0; i < config.blocks; ++i) {
        const int stem_frames = chunk * kStemFramesPerUnit;
        blocks[i].capacity = i < config.average_after ? stem_frames : stem_frames / kAverage;
        blocks[i].keys_values.resize(config.left_chunks * block_bytes(blocks[i]));
        if (cache.has_scales) blocks[i].scales.resize(static_cast<std::size_t>(config.left_chunks) * 2 * config.heads);
        blocks[i].convolution.resize((config.convolution_kernel - 1) * config.d_model * cache.element_bytes);
    }
}

void StreamState::reset() {
    std::ranges::fill(stem.mel, 0.0f);
    std::ranges::fill(stem.hidden, 0.0f);
    for (BlockState& block : blocks) std::ranges::fill(block.convolution, std::byte{0});
    search = CtcSearch();
    stem_frames = 0;
    chunks = 0;
}

std::size_t StreamState::block_bytes(const BlockState& block) const {
    return 2 * static_cast<std::size_t>(block.capacity) * model_->config.d_model * cache_->element_bytes;
}

KeyBlock StreamState::key_block(BlockState& block, int age) {
    const ModelConfig& config = model_->config;
    const int place = (chunks - age) % config.left_chunks;
    const std::size_t bytes = block_bytes(block);
    std::byte* keys = block.keys_values.data() + place * bytes;
    float* scales = cache_->has_scales ? block.scales.data() + static_cast<std::ptrdiff_t>(place) * 2 * config.heads : nullptr;
    return {keys,           keys + bytes / 2, scales, block.capacity,
            block.capacity, static_cast<std::ptrdiff_t>(block.capacity) * config.head_dim()};
}

void StreamState::keep(BlockState& block, const KeyBlock& current) {
    const KeyBlock place = key_block(block, 0);
    std::memcpy(place.keys, current.keys, block_bytes(block));
    if (cache_->has_scales) std::copy_n(current.scales, 2 * model_->config.heads, place.scales);
}

}  // namespace onebit
