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
    gemm::PackedMatrix ff1_up, ff1_down;
    gemm::PackedMatrix query_key_value, attention_output;  // query, key and value stacked: (3 * d_model, d_model)
    gemm::PackedMatrix expand, project;
    Depthwise depthwise;
    gemm::PackedMatrix ff2_up, ff2_down;
};

struct Model {
    // Throws std::invalid_argument naming what is wrong with the configuration, a tensor, a precision or the
    // instruction set.
    Model(const ModelConfig& sizes, const Tensors& tensors, std::span<const int> precisions,
          const std::string& isa_name);

    bool holds(int precision) const;

    ModelConfig config;
    std::vector<int> bits;
    const gemm::Isa* isa;
    const Operations* operations;
    LogMelTables log_mel;
    std::vector<float> fine_positions;  // (32, d_model), see positions.h
    gemm::PackedMatrix conv1, conv2;    // (d_model, 3 * channels), column = tap * channels + channel
    std::vector<BlockWeights> blocks;
    Norm final_norm;
    gemm::PackedMatrix head;
    std::size_t resident_bytes;
};

}  // namespace onebit
