#include "model_config.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

namespace onebit {
namespace {

constexpr int kVectorQuantum = 16;    // the widest vector: heads and feed-forward layers are whole vectors
constexpr int kWidestHead = 128;      // keeps the integer sums of attention within 32 bits
constexpr int kLeastPositions = 8;    // the prompt, some pieces and the end
constexpr int kPositionQuantum = 32;  // sines and cosines are halves of a row

struct Field {
    const char* name;
    int ModelConfig::* member;
    bool of_decoder = false;  // 0 or absent where there is none
};

constexpr Field kFields[] = {
    {"mel_bins", &ModelConfig::mel_bins},
    {"d_model", &ModelConfig::d_model},
    {"heads", &ModelConfig::heads},
    {"blocks", &ModelConfig::blocks},
    {"feed_forward1", &ModelConfig::feed_forward1},
    {"feed_forward2", &ModelConfig::feed_forward2},
    {"convolution_kernel", &ModelConfig::convolution_kernel},
    {"average_after", &ModelConfig::average_after},
    {"vocabulary_size", &ModelConfig::vocabulary_size},
    {"left_chunks", &ModelConfig::left_chunks},
    {"max_positions", &ModelConfig::max_positions},
    {"decoder_blocks", &ModelConfig::decoder_blocks, true},
    {"decoder_feed_forward", &ModelConfig::decoder_feed_forward, true},
    {"decoder_vocabulary_size", &ModelConfig::decoder_vocabulary_size, true},
    {"decoder_positions", &ModelConfig::decoder_positions, true},
};

[[noreturn]] void refuse(const std::string& what) { throw std::invalid_argument("model config: " + what); }

void require_multiple(const char* name, int value, int quantum) {
    if (value % quantum)
        refuse(std::string(name) + " " + std::to_string(value) + " is not a multiple of " + std::to_string(quantum));
}

void check(const ModelConfig& config) {
    require_multiple("d_model", config.d_model, kPositionQuantum);
    require_multiple("d_model", config.d_model, config.heads);
    require_multiple("d_model / heads", config.head_dim(), kVectorQuantum);
    if (config.head_dim() > kWidestHead) refuse("d_model / heads exceeds " + std::to_string(kWidestHead));
    require_multiple("feed_forward1", config.feed_forward1, kVectorQuantum);
    require_multiple("feed_forward2", config.feed_forward2, kVectorQuantum);
    require_multiple("max_positions", config.max_positions, 2);
    if (config.average_after > config.blocks) refuse("average_after exceeds blocks");
}

void check_decoder(const ModelConfig& config) {
    for (const Field& field : kFields)
        if (field.of_decoder && (config.*field.member > 0) != config.has_decoder())
            refuse(std::string(field.name) + " is needed in a network with a decoder, and only there");
    if (config.has_decoder() && config.decoder_positions < kLeastPositions)
        refuse("decoder_positions is less than " + std::to_string(kLeastPositions));
    require_multiple("decoder_feed_forward", config.decoder_feed_forward, kVectorQuantum);
    require_multiple("decoder_vocabulary_size", config.decoder_vocabulary_size, kVectorQuantum);
}

bool is_known(const std::string& name) {
    return std::ranges::any_of(kFields, [&name](const Field& field) { return name == field.name; });
}

}  // namespace

ModelConfig config_from(const std::map<std::string, int>& values) {
    constexpr int kLargest = 1 << 16;
    ModelConfig config{};
    for (const Field& field : kFields) {
        const auto found = values.find(field.name);
        if (found == values.end() && field.of_decoder) continue;
        if (found == values.end()) refuse(std::string(field.name) + " is missing");
        if (found->second < (field.of_decoder ? 0 : 1) || found->second > kLargest)
            refuse(std::string(field.name) + " " + std::to_string(found->second) + " is out of range");
        config.*field.member = found->second;
    }
    for (const auto& [name, value] : values)
        if (!is_known(name)) refuse(name + " is unknown");
    check(config);
    check_decoder(config);
    return config;
}

}  // namespace onebit
