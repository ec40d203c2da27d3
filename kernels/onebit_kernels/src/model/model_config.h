// Sizes of the Conformer, by the names of onebit_model/config.py.
#pragma once

#include <map>
#include <string>

namespace onebit {

struct ModelConfig {
    int mel_bins;
    int d_model;
    int heads;
    int blocks;
    int feed_forward1;
    int feed_forward2;
    int convolution_kernel;
    int average_after;  // pairs of frames are averaged after this many blocks
    int vocabulary_size;
    int left_chunks;
    int max_positions;  // stem frames of the longest segment

    // The attention decoder; all 0: a network with a CTC head alone.
    int decoder_blocks;
    int decoder_feed_forward;
    int decoder_vocabulary_size;
    int decoder_positions;  // pieces of the longest text, prompt and end included

    bool has_decoder() const { return decoder_blocks > 0; }
    int outputs() const { return vocabulary_size + 1; }
    int head_dim() const { return d_model / heads; }
};

// Throws std::invalid_argument naming what is missing, unknown or impossible.
ModelConfig config_from(const std::map<std::string, int>& values);

}  // namespace onebit
