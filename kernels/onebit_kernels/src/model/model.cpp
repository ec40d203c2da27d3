#include "model.h"

#include <algorithm>
#include <stdexcept>

#include "positions.h"

namespace onebit {
namespace {

class ModelReader {
public:
    ModelReader(const ModelConfig& config, const LayerReader& layers, std::span<const int> precisions)
        : config_(config), layers_(layers), precisions_(precisions) {}

    BlockWeights block(const std::string& name) const;
    DecoderWeights decoder() const;
    Norm norm(const std::string& name) const { return {layers_.tensors(), name, config_.d_model, precisions_}; }

private:
    Layer square(const std::string& name) const { return layers_.low_bit(name, {config_.d_model, config_.d_model}); }
    Layer stacked(const std::string& attention, std::initializer_list<const char*> parts) const;
    Depthwise depthwise(const std::string& name) const;
    DecoderBlockWeights decoder_block(const std::string& name) const;

    const ModelConfig& config_;
    const LayerReader& layers_;
    std::span<const int> precisions_;
};

// Keys need no bias: it would add the same to every score.
Layer ModelReader::stacked(const std::string& attention, std::initializer_list<const char*> parts) const {
    std::vector<std::string> names;
    for (const char* part : parts) names.push_back(attention + part);
    return layers_.stacked(names, {config_.d_model, config_.d_model}, attention + ".key");
}

Depthwise ModelReader::depthwise(const std::string& name) const {
    const TensorReader& tensors = layers_.tensors();
    const int dim = config_.d_model, taps = config_.convolution_kernel;
    const std::int8_t* codes = tensors.int8(name + ".int8", dim, taps);
    const std::vector<float> scale = tensors.floats(name + ".scale8", dim);
    Depthwise result{std::vector<float>(static_cast<std::size_t>(taps) * dim), tensors.floats(name + ".bias", dim)};
    for (int c = 0; c < dim; ++c)
        for (int k = 0; k < taps; ++k)
            result.weight[static_cast<std::size_t>(k) * dim + c] = scale[c] * codes[c * taps + k];
    return result;
}

BlockWeights ModelReader::block(const std::string& name) const {
    const int d = config_.d_model;
    return {
        .ff1_norm = norm(name + ".ff1.norm"),
        .attention_norm = norm(name + ".attention.norm"),
        .convolution_norm = norm(name + ".convolution.norm"),
        .inner_norm = norm(name + ".convolution.inner_norm"),
        .ff2_norm = norm(name + ".ff2.norm"),
        .ff1_up = layers_.low_bit(name + ".ff1.up", {config_.feed_forward1, d}),
        .ff1_down = layers_.low_bit(name + ".ff1.down", {d, config_.feed_forward1}),
        .query_key_value = stacked(name + ".attention", {".query", ".key", ".value"}),
        .attention_output = square(name + ".attention.output"),
        .expand = layers_.low_bit(name + ".convolution.expand", {2 * d, d}),
        .project = square(name + ".convolution.project"),
        .depthwise = depthwise(name + ".convolution.depthwise"),
        .ff2_up = layers_.low_bit(name + ".ff2.up", {config_.feed_forward2, d}),
        .ff2_down = layers_.low_bit(name + ".ff2.down", {d, config_.feed_forward2}),
    };
}

DecoderBlockWeights ModelReader::decoder_block(const std::string& name) const {
    const int d = config_.d_model, wide = config_.decoder_feed_forward;
    return {
        .self_norm = norm(name + ".self_attention.norm"),
        .cross_norm = norm(name + ".cross_attention.norm"),
        .feed_forward_norm = norm(name + ".feed_forward.norm"),
        .query_key_value = stacked(name + ".self_attention", {".query", ".key", ".value"}),
        .self_output = square(name + ".self_attention.output"),
        .cross_query = square(name + ".cross_attention.query"),
        .cross_key_value = stacked(name + ".cross_attention", {".key", ".value"}),
        .cross_output = square(name + ".cross_attention.output"),
        .up = layers_.low_bit(name + ".feed_forward.up", {wide, d}),
        .down = layers_.low_bit(name + ".feed_forward.down", {d, wide}),
    };
}

DecoderWeights ModelReader::decoder() const {
    DecoderWeights weights;
    if (!config_.has_decoder()) return weights;
    weights.embedding =
        layers_.low_bit(std::string(kEmbedding), {config_.decoder_vocabulary_size, config_.d_model, false});
    weights.positions = layers_.tensors().floats("decoder.positions", config_.decoder_positions, config_.d_model);
    for (int i = 0; i < config_.decoder_blocks; ++i)
        weights.blocks.push_back(decoder_block("decoder.blocks." + std::to_string(i)));
    weights.norm = norm("decoder.norm");
    return weights;
}

std::size_t bytes_of(const std::vector<float>& values) { return values.size() * sizeof(float); }

std::size_t bytes_of(std::initializer_list<const Layer*> layers, std::initializer_list<const Norm*> norms) {
    std::size_t bytes = 0;
    for (const Layer* layer : layers) bytes += layer->resident_bytes();
    for (const Norm* norm : norms) bytes += norm->resident_bytes();
    return bytes;
}

std::size_t bytes_of(const BlockWeights& block) {
    return bytes_of(
               {&block.ff1_up, &block.ff1_down, &block.query_key_value, &block.attention_output, &block.expand,
                &block.project, &block.ff2_up, &block.ff2_down},
               {&block.ff1_norm, &block.attention_norm, &block.convolution_norm, &block.inner_norm, &block.ff2_norm}) +
           bytes_of(block.depthwise.weight) + bytes_of(block.depthwise.bias);
}

std::size_t bytes_of(const DecoderWeights& decoder) {
    if (decoder.blocks.empty()) return 0;
    std::size_t bytes = bytes_of({&decoder.embedding}, {&decoder.norm}) + bytes_of(decoder.positions);
    for (const DecoderBlockWeights& block : decoder.blocks)
        bytes += bytes_of({&block.query_key_value, &block.self_output, &block.cross_query, &block.cross_key_value,
                           &block.cross_output, &block.up, &block.down},
                          {&block.self_norm, &block.cross_norm, &block.feed_forward_norm});
    return bytes;
}

bool is_precision(int bits) { return bits == 1 || bits == 2 || bits == 4; }

std::vector<int> checked_bits(std::span<const int> bits) {
    for (const int b : bits)
        if (!is_precision(b)) throw std::invalid_argument("precision " + std::to_string(b) + " is not 1, 2 or 4 bit");
    if (bits.empty()) throw std::invalid_argument("a model needs at least one precision");
    return {bits.begin(), bits.end()};
}

const Allocation& checked_allocation(const Allocation& allocation, const Tensors& tensors) {
    for (const auto& [precision, layers] : allocation) {
        for (const auto& [name, planes] : layers) {
            if (!is_precision(planes))
                throw std::invalid_argument("planes: " + name + " cannot have " + std::to_string(planes) + " of them");
            if (!tensors.contains(name + ".planes")) throw std::invalid_argument("planes: there is no layer " + name);
        }
    }
    return allocation;
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
             const std::string& isa_name, const Allocation& allocation)
    : config(sizes),
      bits(checked_bits(precisions)),
      isa(&gemm::find_isa(isa_name)),
      operations(&operations_for(gemm::name_of(*isa))),
      log_mel(sizes.mel_bins),
      fine_positions(fine_position_table(sizes.d_model)) {
    const LayerReader layers(tensors, *isa, bits, checked_allocation(allocation, tensors));
    const ModelReader reader(config, layers, bits);
    conv1 = layers.int8("stem.conv1", config.d_model, 3 * config.mel_bins);
    conv2 = layers.int8("stem.conv2", config.d_model, 3 * config.d_model);
    for (int i = 0; i < config.blocks; ++i) blocks.push_back(reader.block("blocks." + std::to_string(i)));
    final_norm = reader.norm("final_norm");
    head = layers.int8("head", config.outputs(), config.d_model);
    decoder = reader.decoder();
    resident_bytes = bytes_of({&conv1, &conv2, &head}, {&final_norm}) + bytes_of(fine_positions) + bytes_of(decoder);
    for (const BlockWeights& block : blocks) resident_bytes += bytes_of(block);
}

bool Model::holds(int precision) const { return std::ranges::find(bits, precision) != bits.end(); }

}  // namespace onebit
