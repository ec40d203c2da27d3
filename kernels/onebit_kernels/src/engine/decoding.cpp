#include "decoding.h"

#include <algorithm>
#include <utility>

namespace onebit {
namespace {

constexpr int kFrameQuantum = 16;

// Fast speech has seven pieces a second; who writes more is lost.
constexpr int kPiecesPerSecond = 10;
constexpr int kFramesPerSecond = 25;
constexpr int kPiecesOfAnySegment = 16;

int most_pieces_of(const ModelConfig& config, int frames) {
    const int prompt = static_cast<int>(kPromptPieces.size());
    return std::min(config.decoder_positions - prompt,
                    kPiecesOfAnySegment + frames * kPiecesPerSecond / kFramesPerSecond);
}

}  // namespace

Decoding::Decoding(std::shared_ptr<const Model> model, int bits, bool exact, EncodedFrames encoded,
                   const DecodingOptions& options)
    : model_(std::move(model)),
      bits_(bits),
      exact_(exact),
      cache_(exact ? &model_->operations->exact_cache : &model_->operations->fast_cache),
      frames_(exact ? &model_->operations->exact_cache : &model_->operations->frames_cache),
      encoded_(std::move(encoded)),
      padded_frames_((encoded_.frames() + kFrameQuantum - 1) / kFrameQuantum * kFrameQuantum),
      most_pieces_(most_pieces_of(model_->config, encoded_.frames())),
      search_(options.beam, model_->config.decoder_vocabulary_size, most_pieces_, options.hotwords),
      timing_(options.timing),
      ctc_weight_(options.ctc_weight),
      done_(encoded_.frames() == 0) {
    const ModelConfig& config = model_->config;
    const auto rows = static_cast<std::size_t>(search_.most_rows());
    self_bytes_ = rows * static_cast<std::size_t>(config.d_model) * cache_->element_bytes;
    self_memory_.ensure(2 * static_cast<std::size_t>(config.decoder_blocks) * self_bytes_);
    weights_.ensure(rows * static_cast<std::size_t>(padded_frames_));
    written_.pieces.reserve(static_cast<std::size_t>(most_pieces_));
    place_key_blocks();
}

// Head by head, so that attention walks memory in order; in a head, tile by tile.
void Decoding::place_key_blocks() {
    const ModelConfig& config = model_->config;
    const std::size_t head_elements = static_cast<std::size_t>(padded_frames_) * config.head_dim();
    const std::size_t bytes = head_elements * config.heads * frames_->element_bytes;  // of keys, or of values
    std::byte* memory = cross_memory_.ensure(2 * static_cast<std::size_t>(config.decoder_blocks) * bytes);
    const std::size_t scales = static_cast<std::size_t>(tiles()) * 2 * config.heads;
    if (frames_->has_scales) cross_scales_.ensure(static_cast<std::size_t>(config.decoder_blocks) * scales);
    key_blocks_.reserve(static_cast<std::size_t>(config.decoder_blocks) * tiles());
    for (int block = 0; block < config.decoder_blocks; ++block) {
        for (int tile = 0; tile < tiles(); ++tile) {
            const int first = tile * kTileFrames, left = frames() - first;
            std::byte* keys = memory + 2 * block * bytes +
                              static_cast<std::size_t>(first) * config.head_dim() * frames_->element_bytes;
            float* scale =
                frames_->has_scales ? cross_scales_.data() + block * scales + tile * 2 * config.heads : nullptr;
            key_blocks_.push_back({keys, keys + bytes, scale, std::min(kTileFrames, left),
                                   std::min(kTileFrames, padded_frames_ - first),
                                   static_cast<std::ptrdiff_t>(head_elements)});
        }
    }
}

std::span<const KeyBlock> Decoding::key_blocks(int block) const {
    return std::span(key_blocks_).subspan(static_cast<std::size_t>(block) * tiles(), tiles());
}

std::size_t Decoding::resident_bytes() const {
    return sizeof(Decoding) + encoded_.resident_bytes() + cross_memory_.bytes() + cross_scales_.bytes() +
           self_memory_.bytes() + weights_.bytes() + search_.resident_bytes();
}

}  // namespace onebit
