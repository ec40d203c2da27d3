#include "model.h"

#include <algorithm>
#include <stdexcept>

#include "positions.h"

namespace onebit {
namespace {

struct LayerShape {
    int rows;
    int columns;
    bool has_bias = true;
};

// One low-bit layer of the file, with the float copies of its scales that packing needs.
struct LowBitLayer {
    TensorReader::Planes planes;
    LayerShape shape;
    std::vector<float> scales[5];  // by bits
    std::vector<float> bias;

    gemm::LayerPlanes view() const {
        const auto scale = [&](int bits) { return scales[bits].empty() ? nullptr : scales[bits].data(); };
        return {planes.data, planes.count, shape.rows, shape.columns,
                scale(1),    scale(2),     scale(4),   bias.empty() ? nullptr : bias.data()};
    }
};

class ModelBuilder {
public:
    ModelBuilder(const Tensors& tensors, const gemm::Isa& isa, std::span<const int> bits)
        : tensors_(tensors), isa_(isa), bits_(bits) {}

    LowBitLayer layer(const std::string& name, LayerShape shape) const {
        LowBitLayer layer;
        layer.shape = shape;
        layer.planes = tensors_.planes(name + ".planes", *std::ranges::max_element(bits_), shape.rows, shape.columns);
        for (const int b : bits_) layer.scales[b] = tensors_.floats(name + ".scale" + std::to_string(b), shape.rows);
        if (shape.has_bias) layer.bias = tensors_.floats(name + ".bias", shape.rows);
        return layer;
    }

    gemm::PackedMatrix matrix(const std::string& name, LayerShape shape) const {
        const LowBitLayer only = layer(name, shape);
        const gemm::LayerPlanes views[] = {only.view()};
        return gemm::pack_planes(isa_, views, bits_);
    }

    gemm::PackedMatrix int8_matrix(const std::string& name, int rows, int columns) const {
        const std::vector<float> scale = tensors_.floats(name + ".scale8", rows),
                                 bias = tensors_.floats(name + ".bias", rows);
        return gemm::pack_int8(
            isa_, {tensors_.int8(name + ".int8", rows, columns), rows, columns, scale.data(), bias.data()});
    }

    Norm norm(const std::string& name, int dim) const { return Norm(tensors_, name, dim, bits_); }

    Depthwise depthwise(const std::string& name, int dim, int taps) const {
        const std::int8_t* codes = tensors_.int8(name + ".int8", dim, taps);
        const std::vector<float> scale = tensors_.floats(name + ".scale8", dim);
        Depthwise result{std::vector<float>(static_cast<std::size_t>(taps) * dim),
                         tensors_.floats(name + ".bias", dim)};
        for (int c = 0; c < dim; ++c)
            for (int k = 0; k < taps; ++k)
                result.weight[static_cast<std::size_t>(k) * dim + c] = scale[c] * codes[c * taps + k];
        return result;
    }

    BlockWeights block(const std::string& name, const ModelConfig& config) const;

private:
    TensorReader tensors_;
    const gemm::Isa& isa_;
    std::span<const int> bits_;
};

BlockWeights ModelBuilder::block(const std::string& name, const ModelConfig& config) const {
    const int d = config.d_model;
    const LowBitLayer query = layer(name + ".attention.query", {d, d});
    const LowBitLayer key = layer(name + ".attention.key", {d, d, false});
    const LowBitLayer value = layer(name + ".attention.value", {d, d});
    const gemm::LayerPlanes stacked[] = {query.view(), key.view(), value.view()};
    return {
        .ff1_norm = norm(name + ".ff1.norm", d),
        .attention_norm = norm(name + ".attention.norm", d),
        .convolution_norm = norm(name + ".convolution.norm", d),
        .inner_norm = norm(name + ".convolution.inner_norm", d),
        .ff2_norm = norm(name + ".ff2.norm", d),
        .ff1_up = matrix(name + ".ff1.up", {config.feed_forward1, d}),
        .ff1_down = matrix(name + ".ff1.down", {d, config.feed_forward1}),
        .query_key_value = gemm::pack_planes(isa_, stacked, bits_),
        .attention_output = matrix(name + ".attention.output", {d, d}),
        .expand = matrix(name + ".convolution.expand", {2 * d, d}),
        .project = matrix(name + ".convolution.project", {d, d}),
        .depthwise = depthwise(name + ".convolution.depthwise", d, config.convolution_kernel),
        .ff2_up = matrix(name + ".ff2.up", {config.feed_forward2, d}),
        .ff2_down = matrix(name + ".ff2.down", {d, config.feed_forward2}),
    };
}

std::size_t bytes_of(const std::vector<float>& values) { return values.size() * sizeof(float); }

std::size_t bytes_of(const BlockWeights& block) {
    std::size_t bytes = bytes_of(block.depthwise.weight) + bytes_of(block.depthwise.bias);
    for (const gemm::PackedMatrix* matrix :
         {&block.ff1_up, &block.ff1_down, &block.query_key_value, &block.attention_output, &block.expand,
          &block.project, &block.ff2_up, &block.ff2_down})
        bytes += matrix->resident_bytes;
    for (const Norm* norm :
         {&block.ff1_norm, &block.attention_norm, &block.convolution_norm, &block.inner_norm, &block.ff2_norm})
        bytes += norm->resident_bytes();
    return bytes;
}

std::vector<int> checked_bits(std::span<const int> bits) {
    for (const int b : bits)
        if (b != 1 && b != 2 && b != 4)
            throw std::invalid_argument("precision " + std::to_string(b) + " is not 1, 2 or 4 bit");
    if (bits.empty()) throw std::invalid_argument("a model needs at least one precision");
    return {bits.begin(), bits.end()};
}

}  // namespace

Norm::Norm(const TensorReader& tensors, const std::string& name, int dim, std::span<const int> bits) {
    int shared = -1;
    const auto add = [&](const std::string& suffix) {
        variants_.push_back(
            {tensors.floats(name + ".weight" + suffix, dim), tensors.floats(name + ".bias" + suffix, dim)});
        return static_cast<int>(variants_.size()) - 1;
    };
    for (const int b : bits) {
        const std::string suffix = std::to_string(b);
        if (tensors.has(name + ".weight" + suffix)) {
            variant_of_bits_[b] = add(suffix);
        } else {
            if (shared < 0) shared = add("");
            variant_of_bits_[b] = shared;
        }
    }
}

std::size_t Norm::resident_bytes() const {
    std::size_t bytes = 0;
    for (const NormWeights& variant : variants_) bytes += bytes_of(variant.weight) + bytes_of(variant.bias);
    return bytes;
}

Model::Model(const ModelConfig& sizes, const Tensors& tensors, std::span<const int> precisions,
             const std::string& isa_name)
    : config(sizes),
      bits(checked_bits(precisions)),
      isa(&gemm::find_isa(isa_name)),
      operations(&operations_for(gemm::name_of(*isa))),
      log_mel(sizes.mel_bins),
      fine_positions(fine_position_table(sizes.d_model)) {
    const ModelBuilder builder(tensors, *isa, bits);
    conv1 = builder.int8_matrix("stem.conv1", config.d_model, 3 * config.mel_bins);
    conv2 = builder.int8_matrix("stem.conv2", config.d_model, 3 * config.d_model);
    for (int i = 0; i < config.blocks; ++i) blocks.push_back(builder.block("blocks." + std::to_string(i), config));
    final_norm = builder.norm("final_norm", config.d_model);
    head = builder.int8_matrix("head", config.outputs(), config.d_model);
    resident_bytes = conv1.resident_bytes + conv2.resident_bytes + head.resident_bytes + final_norm.resident_bytes() +
                     bytes_of(fine_positions);
    for (const BlockWeights& block : blocks) resident_bytes += bytes_of(block);
}

bool Model::holds(int precision) const { return std::ranges::find(bits, precision) != bits.end(); }

}  // namespace onebit
