// One audio stream: samples wait here until an engine computes them, tokens wait until they are taken.
//
// Not thread-safe by itself: `feed` may run while an engine computes (it owns the samples of the step by then),
// everything else that changes the stream may not; the Python face has the interpreter lock for that.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "../model/model.h"
#include "stream_state.h"

namespace onebit {

struct StreamOptions {
    int chunk;                                           // 8 or 16 units of 80 ms, or kSegmentChunk
    bool keep_logits;                                    // log-probabilities of every frame are kept for `take`
    bool keep_encoded = false;                           // the encoder output is kept for the decoder
    int beam = 1;                                        // texts that the search keeps; 1: greedy
    std::shared_ptr<const Hotwords> hotwords = nullptr;  // need a beam
    std::shared_ptr<const LanguageModel> language_model = nullptr;  // needs a beam
};

struct Result {
    std::vector<Token> tokens;     // new since the last take
    std::vector<Token> tentative;  // what follows all tokens in the best text so far; empty in the greedy search
    int frames = 0;                // output frames (40 ms) decoded since the start of the segment
    int trailing_blank_frames = 0;
    std::vector<float> logits;  // (new frames, outputs) log-probabilities, if kept
};

class Stream {
public:
    // Throws std::invalid_argument for a search that is none, or hotwords or a language model of another vocabulary.
    Stream(std::shared_ptr<const Model> model, int bits, bool exact, StreamOptions options);

    // Throws std::invalid_argument: after `finish`, when a sample is not finite, or when a segment grows too long.
    void feed(std::span<const float> samples);
    void finish();
    void reset();  // a new segment; throws std::invalid_argument while an engine computes

    bool ready() const { return !stepping_ && next_stem_frames() > 0; }
    bool done() const { return finished_ && !stepping_ && !ready(); }
    int encoded_frames() const { return state_.encoded ? state_.encoded->frames() : 0; }  // kept of this segment
    std::size_t buffered_samples() const;  // fed, and not yet part of a computed frame
    Result take();

    // The engine's side.
    const Model& model() const { return *model_; }
    int bits() const { return bits_; }
    bool exact() const { return exact_; }
    int chunk() const { return options_.chunk; }
    StreamState& state() { return state_; }
    const StreamState& state() const { return state_; }
    std::size_t resident_bytes() const;

    struct Step {
        int stem_frames = 0;
        bool last = false;        // the segment ends with this step
        int mel_frames = 0;       // that are new
        std::size_t samples = 0;  // under the windows of these log-mel frames
    };
    Step next_step() const;  // stem_frames is 0 when not ready
    void begin_step(const Step& step,
                    float* samples);  // hands the step's samples out and forgets those not needed again
    void end_step();                  // publishes what the step added to `fresh`
    bool stepping() const { return stepping_; }

    struct Fresh {
        std::vector<Token> tokens;
        std::vector<float> logits;
    };
    Fresh& fresh() { return fresh_; }
    bool keeps_logits() const { return options_.keep_logits; }

private:
    int next_stem_frames() const;
    int available_stem_frames() const;
    int segment_stem_frames() const;
    int next_mel_frame() const;
    void reserve_results(int frames);
    void forget(std::size_t count);

    std::shared_ptr<const Model> model_;
    int bits_;
    bool exact_;
    StreamOptions options_;
    StreamState state_;
    std::vector<float> samples_;
    std::size_t used_samples_ = 0;   // of samples_, before those that the next mel frame's window and later ones need
    std::size_t total_samples_ = 0;  // fed since the start of the segment
    int computed_stem_frames_ = 0;
    bool finished_ = false;
    bool stepping_ = false;
    Fresh fresh_;
    Result pending_;
};

}  // namespace onebit
