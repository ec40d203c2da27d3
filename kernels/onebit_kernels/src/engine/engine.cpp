#include "engine.h"

#include <algorithm>
#include <stdexcept>
#include <string>

namespace onebit {
namespace {

constexpr int kChunks[] = {kSegmentChunk, 8, 16};

int checked_threads(int threads) {
    if (threads < 1 || threads > kMostThreads)
        throw std::invalid_argument("threads " + std::to_string(threads) + " is not 1 to " +
                                    std::to_string(kMostThreads));
    return threads;
}

}  // namespace

Engine::Engine(std::shared_ptr<const Model> model, int bits, bool exact, int threads)
    : model_(std::move(model)), bits_(bits), exact_(exact), encoder_(*model_, bits, exact, checked_threads(threads)) {
    if (!model_->holds(bits))
        throw std::invalid_argument("the model holds no " + std::to_string(bits) + "-bit weights");
}

std::shared_ptr<Stream> Engine::open(StreamOptions options) const {
    if (std::ranges::find(kChunks, options.chunk) == std::end(kChunks))
        throw std::invalid_argument("chunk " + std::to_string(options.chunk) +
                                    " is not 8, 16 or 0 (the whole segment)");
    return std::make_shared<Stream>(model_, bits_, exact_, options);
}

void Engine::check(const Stream& stream) const {
    if (&stream.model() != model_.get() || stream.bits() != bits_ || stream.exact() != exact_)
        throw std::invalid_argument("a stream of another model, precision or mode cannot be stepped by this engine");
    if (!stream.ready()) throw std::invalid_argument("a stream is not ready: it lacks samples for a chunk, or is done");
}

void Engine::begin(std::span<Stream* const> streams) {
    steps_.clear();
    std::size_t samples = 0;
    for (Stream* stream : streams) {
        check(*stream);
        const auto same = [stream](const StreamStep& step) { return step.stream == stream; };
        if (std::ranges::any_of(steps_, same)) throw std::invalid_argument("a stream is given twice");
        steps_.push_back({stream, stream->next_step(), samples});
        samples += steps_.back().step.samples;
    }
    float* buffer = encoder_.prepare(steps_, samples);
    for (const StreamStep& step : steps_) step.stream->begin_step(step.step, buffer + step.first_sample);
}

void Engine::compute() {
    if (!steps_.empty()) encoder_.run(steps_);
}

void Engine::end() {
    for (const StreamStep& step : steps_) step.stream->end_step();
    steps_.clear();
}

}  // namespace onebit
