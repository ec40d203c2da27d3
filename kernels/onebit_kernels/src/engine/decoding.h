// One segment on its way to written text: what the attention decoder remembers of it between steps.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "../model/model.h"
#include "../search/piece_search.h"
#include "buffer.h"
#include "encoded_frames.h"

namespace onebit {

struct WrittenPiece {
    int id;
    float log_probability;
    int frame;  // where it begins, in output frames (40 ms) since the start of the segment
    int frames;
};

// Which of the decoder's own attention and the CTC head says when pieces were said.
enum class Timing { attention, ctc };

struct Written {
    std::vector<WrittenPiece> pieces;
    float no_speech_probability = 1.0f;
    float mean_log_probability = 0.0f;  // of the pieces and the end
    float ctc_agreement = 0.0f;         // see _core.pyi
    bool loop = false;                  // it found no end, or said the same again and again: not to be trusted
};

struct DecodingOptions {
    int beam = 1;                                        // texts that the search keeps; 1: greedy
    std::shared_ptr<const Hotwords> hotwords = nullptr;  // of the decoder's pieces
    Timing timing = Timing::attention;                   // ctc needs a spelling
    float ctc_weight = 0.0f;  // of its opinion on texts that end; more than 0 needs a spelling
};

class Decoding {
public:
    // All memory that it will need. Throws std::invalid_argument for options that the search refuses.
    Decoding(std::shared_ptr<const Model> model, int bits, bool exact, EncodedFrames encoded,
             const DecodingOptions& options);

    bool done() const { return done_ && !stepping_; }
    const Written& written() const { return written_; }
    std::size_t resident_bytes() const;

    // The decoder's side.
    const Model& model() const { return *model_; }
    int bits() const { return bits_; }
    bool exact() const { return exact_; }
    bool stepping() const { return stepping_; }
    void set_stepping(bool stepping) { stepping_ = stepping; }

    int frames() const { return encoded_.frames(); }
    int padded_frames() const { return padded_frames_; }

    // Keys and values of cross-attention are made tile by tile; a tile is one key block.
    bool projecting() const { return next_tile_ < tiles(); }
    int tiles() const { return (frames() + kTileFrames - 1) / kTileFrames; }
    const EncodedFrames& encoded() const { return encoded_; }
    int next_tile() const { return next_tile_; }
    void end_tile() { ++next_tile_; }
    std::span<const KeyBlock> key_blocks(int block) const;

    PieceSearch& search() { return search_; }
    const PieceSearch& search() const { return search_; }
    bool begun() const { return begun_; }  // the prompt is behind it
    void begin() { begun_ = true; }

    // Keys and values of self-attention, rows of d_model elements of the cache.
    std::byte* self_keys(int block) { return self_memory_.data() + 2 * block * self_bytes_; }
    std::byte* self_values(int block) { return self_keys(block) + self_bytes_; }

    // How row `row` looked at the frames, (padded_frames), summed over the heads that know.
    float* weights(int row) { return weights_.data() + static_cast<std::ptrdiff_t>(row) * padded_frames_; }

    Timing timing() const { return timing_; }
    float ctc_weight() const { return ctc_weight_; }
    int most_pieces() const { return most_pieces_; }
    Written& result() { return written_; }
    void finish() { done_ = true; }

    static constexpr int kTileFrames = 48;  // a multiple of 16 and of the heights of the products' tiles

private:
    void place_key_blocks();

    std::shared_ptr<const Model> model_;
    int bits_;
    bool exact_;
    const CacheOperations* cache_;   // of encoded frames and pieces
    const CacheOperations* frames_;  // of the key blocks
    EncodedFrames encoded_;
    int padded_frames_;
    int most_pieces_;
    PieceSearch search_;
    Timing timing_;
    float ctc_weight_;
    int next_tile_ = 0;
    bool begun_ = false;
    bool done_ = false;
    bool stepping_ = false;
    Written written_;

    Buffer<std::byte> cross_memory_;    // (blocks, keys | values, heads, padded frames * head_dim)
    Buffer<float> cross_scales_;        // (blocks, tiles, 2, heads)
    std::vector<KeyBlock> key_blocks_;  // (blocks, tiles)
    std::size_t self_bytes_;            // of the keys of one block
    Buffer<std::byte> self_memory_;     // (blocks, keys | values, rows, d_model)
    Buffer<float> weights_;             // (rows, padded frames)
};

}  // namespace onebit
