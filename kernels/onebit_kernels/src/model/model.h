// A model in the layout of the kernels: immutable, shared by any number of engines and threads.
#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "../gemm/lowbit_gemm.h"
#include "../operations/log_mel_tables.h"
#include "../operations/operations.h"
#include "layer.h"
#include "model_config.h"
#include "tensors.h"

namespace onebit {

struct NormWeights {
    std::vector<float> weight;  // (d_model)
    std::vector<float> bias;
};

// One norm for all precisions, or a private one for some.
class Norm {
public:
    Norm() = default;
    Norm(const TensorReader& tensors, const std::string& name, int dim, std::span<const int> bits);

    const NormWeights& at(int bits) const { return variants_[variant_of_bits_[bits]]; }
    std::size_t resident_bytes() const;

private:
    std::vector<NormWeights> variants_;
    std::array<int, 5> variant_of_bits_{};
};

struct Depthwise {
    std::vector<float> weight;  // (taps, d_model)
    std::vector<float> bias;    // (d_model)
};

struct BlockWeights {
    Norm ff1_norm, attention_norm, convolution_norm, inner_norm, ff2_norm;
    Layer ff1_up, ff1_down;
    Layer query_key_value, attention_output;  // query, key and value stacked: (3 * d_model, d_model)
    Layer expand, project;
    Depthwise depthwise;
    Layer ff2_up, ff2_down;
};

struct DecoderBlockWeights {
    Norm self_norm, cross_norm, feed_forward_norm;
    Layer query_key_value, self_output;                // of self-attention, stacked
    Layer cross_query, cross_key_value, cross_output;  // key and value stacked
    Layer up, down;
};

struct DecoderWeights {
    Layer embedding;               // (decoder_vocabulary_size, d_model): rows in, logits out
    std::vector<float> positions;  // (decoder_positions, d_model)
    std::vector<DecoderBlockWeights> blocks;
    Norm norm;
};

struct Model {
    // Throws std::invalid_argument naming what is wrong with the configuration, a tensor, a precision, the allocation
    // or the instruction set.
    Model(const ModelConfig& sizes, const Tensors& tensors, std::span<const int> precisions,
          const std::string& isa_name, const Allocation& allocation = {});

    bool holds(int precision) const;

    ModelConfig config;
    std::vector<int> bits;
    const gemm::Isa* isa;
    const Operations* operations;
    LogMelTables log_mel;
    std::vector<float> fine_positions;  // (32, d_model), see positions.h
    Layer conv1, conv2;                 // (d_model, 3 * channels), column = tap * channels + channel
    std::vector<BlockWeights> blocks;
    Norm final_norm;
    Layer head;
    DecoderWeights decoder;  // without blocks in a model that has a CTC head alone
    std::size_t resident_bytes;
};

}  // namespace onebit
