// Advances streams of one model at one precision.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "encoder.h"
#include "stream.h"

namespace onebit {

inline constexpr int kMostThreads = 64;

class Engine {
public:
    // Throws std::invalid_argument when the model does not hold the precision, or threads are not 1 .. kMostThreads.
    Engine(std::shared_ptr<const Model> model, int bits, bool exact, int threads = 1);

    std::shared_ptr<Stream> open(StreamOptions options) const;

    // One chunk of each stream, in three parts, so that a caller can release its lock around the second:
    //   begin     checks, takes the samples of the step out of the streams and makes all memory
    //   compute   the arithmetic; allocates nothing, fails at nothing
    //   end       publishes what `take` returns
    // Throws std::invalid_argument for a stream that is not ready, given twice or of another model, precision or mode.
    // One step at a time.
    void begin(std::span<Stream* const> streams);
    void compute();
    void end();

    int bits() const { return bits_; }
    bool exact() const { return exact_; }
    StageClock& clock() { return encoder_.clock; }
    std::size_t resident_bytes() const { return encoder_.resident_bytes(); }

private:
    void check(const Stream& stream) const;

    std::shared_ptr<const Model> model_;
    int bits_;
    bool exact_;
    Encoder encoder_;
    std::vector<StreamStep> steps_;
};

}  // namespace onebit
