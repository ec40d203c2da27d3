// The engine without Python, for processors that are emulated: every
// instruction set against the portable one.
//   engine_test ISA...
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "engine/attention_decoder.h"
#include "engine/engine.h"

using namespace onebit;

namespace {

const ModelConfig kConfig = config_from({{"mel_bins", 80},
                                         {"d_model", 64},
                                         {"heads", 2},
                                         {"blocks", 2},
                                         {"feed_forward1", 96},
                                         {"feed_forward2", 160},
                                         {"convolution_kernel", 7},
                                         {"average_after", 1},
                                         {"vocabulary_size", 20},
                                         {"left_chunks", 4},
                                         {"max_positions", 1500},
                                         {"decoder_blocks", 2},
                                         {"decoder_feed_forward", 96},
                                         {"decoder_vocabulary_size", 48},
                                         {"decoder_positions", 64}});

// Tensors of a model with random weights; owns their memory.
class RandomTensors {
public:
    RandomTensors() {
        const int d = kConfig.d_model;
        int8("stem.conv1", d, 3 * kConfig.mel_bins);
        int8("stem.conv2", d, 3 * d);
        for (int i = 0; i < kConfig.blocks; ++i) block("blocks." + std::to_string(i));
        norm("final_norm");
        int8("head", kConfig.outputs(), d);
        low_bit("decoder.embedding", kConfig.decoder_vocabulary_size, d);
        halves("decoder.positions", {kConfig.decoder_positions, d}, 0x3400);  // about 0.3
        for (int i = 0; i < kConfig.decoder_blocks; ++i) decoder_block("decoder.blocks." + std::to_string(i));
        norm("decoder.norm");
    }

    Tensors tensors;

private:
    void block(const std::string& name) {
        const int d = kConfig.d_model;
        for (const char* part :
             {".ff1.norm", ".attention.norm", ".convolution.norm", ".convolution.inner_norm", ".ff2.norm"})
            norm(name + part);
        low_bit(name + ".ff1.up", kConfig.feed_forward1, d);
        low_bit(name + ".ff1.down", d, kConfig.feed_forward1);
        for (const char* part : {".query", ".key", ".value", ".output"}) low_bit(name + ".attention" + part, d, d);
        low_bit(name + ".convolution.expand", 2 * d, d);
        int8(name + ".convolution.depthwise", d, kConfig.convolution_kernel);
        low_bit(name + ".convolution.project", d, d);
        low_bit(name + ".ff2.up", kConfig.feed_forward2, d);
        low_bit(name + ".ff2.down", d, kConfig.feed_forward2);
    }

    void decoder_block(const std::string& name) {
        const int d = kConfig.d_model;
        for (const char* part : {".self_attention", ".cross_attention", ".feed_forward"}) norm(name + part + ".norm");
        for (const char* attention : {".self_attention", ".cross_attention"})
            for (const char* part : {".query", ".key", ".value", ".output"}) low_bit(name + attention + part, d, d);
        low_bit(name + ".feed_forward.up", kConfig.decoder_feed_forward, d);
        low_bit(name + ".feed_forward.down", d, kConfig.decoder_feed_forward);
    }

    void low_bit(const std::string& name, int rows, int columns) {
        bytes(name + ".planes", Element::uint8, {4, rows, columns / 8});
        for (const char* scale : {".scale1", ".scale2", ".scale4"}) halves(name + scale, {rows}, 0x2800);  // about 0.03
        halves(name + ".bias", {rows}, 0x2c00);
    }

    void int8(const std::string& name, int rows, int columns) {
        bytes(name + ".int8", Element::int8, {rows, columns});
        halves(name + ".scale8", {rows}, 0x1400);  // about 0.001
        halves(name + ".bias", {rows}, 0x2c00);
    }

    void norm(const std::string& name) {
        halves(name + ".weight", {kConfig.d_model}, 0x3c00);  // about 1
        halves(name + ".bias", {kConfig.d_model}, 0x2c00);
    }

    void bytes(const std::string& name, Element element, std::vector<std::int64_t> shape) {
        std::size_t count = 1;
        for (const std::int64_t size : shape) count *= static_cast<std::size_t>(size);
        auto memory = std::make_unique<std::uint8_t[]>(count);
        for (std::size_t i = 0; i < count; ++i) memory[i] = static_cast<std::uint8_t>(random_());
        tensors[name] = {element, std::move(shape), memory.get()};
        memory_.push_back(std::move(memory));
    }

    // Half-precision numbers whose bits are `base` and some random ones of the fraction.
    void halves(const std::string& name, std::vector<std::int64_t> shape, unsigned base) {
        std::size_t count = 1;
        for (const std::int64_t size : shape) count *= static_cast<std::size_t>(size);
        auto memory = std::make_unique<std::uint8_t[]>(2 * count);
        for (std::size_t i = 0; i < count; ++i) {
            const unsigned bits = base | (random_() & 0x1ffu);
            memory[2 * i] = static_cast<std::uint8_t>(bits);
            memory[2 * i + 1] = static_cast<std::uint8_t>(bits >> 8);
        }
        tensors[name] = {Element::float16, std::move(shape), memory.get()};
        memory_.push_back(std::move(memory));
    }

    std::mt19937 random_{7};
    std::vector<std::unique_ptr<std::uint8_t[]>> memory_;
};

std::vector<float> sweep(int samples) {
    std::vector<float> audio(static_cast<std::size_t>(samples));
    for (int i = 0; i < samples; ++i)
        audio[i] = 0.2f * std::sin(2e-5f * static_cast<float>(i) * static_cast<float>(i % 16000));
    return audio;
}

struct Setting {
    int bits;
    bool exact;
    int chunk;
};

// What one setting gives: log-probabilities of all frames, and those of no speech in two segments that were written.
struct Outcome {
    std::vector<float> frames;
    std::vector<float> no_speech;
};

Outcome outcome(const Tensors& tensors, const std::string& isa, const Setting& setting) {
    const int bits[] = {1, 2, 4};
    const auto model = std::make_shared<const Model>(kConfig, tensors, bits, isa);
    Engine engine(model, setting.bits, setting.exact);
    const auto stream = engine.open({.chunk = setting.chunk, .keep_logits = true, .keep_encoded = true});
    stream->feed(sweep(3 * 16000 + 77));
    stream->finish();
    Stream* const streams[] = {stream.get()};
    while (stream->ready()) {
        engine.begin(streams);
        engine.compute();
        engine.end();
    }
    AttentionDecoder decoder(model, setting.bits, setting.exact, {});
    const auto greedy = decoder.open(*stream, -1, {}), beam = decoder.open(*stream, 40, {.beam = 4});
    Decoding* const decodings[] = {greedy.get(), beam.get()};
    decoder.begin(decodings);
    decoder.compute(std::chrono::hours(1));
    decoder.end();
    Outcome result{stream->take().logits, {}};
    for (const Decoding* decoding : decodings)
        result.no_speech.push_back(std::log(decoding->written().no_speech_probability));
    return result;
}

// Root mean square of the difference relative to that of the expected values.
double distance(const std::vector<float>& actual, const std::vector<float>& expected) {
    if (actual.size() != expected.size()) return 1.0;
    double difference = 0.0, whole = 0.0;
    for (std::size_t i = 0; i < actual.size(); ++i) {
        difference += (actual[i] - expected[i]) * (actual[i] - expected[i]);
        whole += expected[i] * expected[i];
    }
    return std::sqrt(difference / whole);
}

}  // namespace

int main(int count, char** arguments) {
    constexpr double kAllowed = 0.01;  // of int8 codes that round the other way,
                                       // amplified by the layers behind them
    const RandomTensors random;
    int failures = 0;
    for (int a = 1; a < count; ++a) {
        for (const int bits : {1, 2, 4}) {
            for (const bool exact : {false, true}) {
                for (const int chunk : {0, 8, 16}) {
                    const Setting setting{bits, exact, chunk};
                    const Outcome actual = outcome(random.tensors, arguments[a], setting);
                    const Outcome expected = outcome(random.tensors, "generic", setting);
                    const double error = distance(actual.frames, expected.frames);
                    const double written = distance(actual.no_speech, expected.no_speech);
                    const bool good = error < kAllowed && written < kAllowed;
                    failures += !good;
                    std::printf("%s %s %d bit, %s, chunk %d: %.2e, written %.2e\n", good ? "ok  " : "FAIL",
                                arguments[a], bits, exact ? "exact" : "fast", chunk, error, written);
                }
            }
        }
    }
    return failures != 0;
}
