#include "stream.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>

namespace onebit {
namespace {

constexpr float kLargestSample = 1e6f;  // whatever the caller's full scale is; squares and sums stay far from infinity
constexpr std::size_t kHalfWindow = kWindowSamples / 2;

const CacheOperations& cache_of(const Model& model, bool exact) {
    return exact ? model.operations->exact_cache : model.operations->fast_cache;
}

void check_samples(std::span<const float> samples) {
    float largest = 0.0f;
    bool comparable = true;
    for (const float sample : samples) {
        const float magnitude = std::fabs(sample);
        largest = std::max(largest, magnitude);
        comparable &= magnitude == magnitude;
    }
    if (!comparable || largest > kLargestSample)
        throw std::invalid_argument("samples must be finite numbers; full scale is -1 to 1");
}

template <class T>
std::size_t bytes_of(const std::vector<T>& values) {
    return values.capacity() * sizeof(T);
}

}  // namespace

Stream::Stream(std::shared_ptr<const Model> model, int bits, bool exact, StreamOptions options)
    : model_(std::move(model)),
      bits_(bits),
      exact_(exact),
      options_(options),
      state_(*model_, cache_of(*model_, exact), options.chunk) {
    if (options.beam != 1)
        state_.beam = std::make_unique<BeamSearch>(options.beam, model_->config.outputs(), options.hotwords,
                                                   options.language_model);
    else if (options.hotwords || options.language_model)
        throw std::invalid_argument(std::string(options.hotwords ? "hotwords need" : "a language model needs") +
                                    " a beam of 2 or more");
    if (options.keep_encoded)
        state_.encoded = std::make_unique<EncodedFrames>(cache_of(*model_, exact), model_->config.d_model,
                                                         model_->config.max_positions / kAverage);
    if (options.chunk != kSegmentChunk) reserve_results(options.chunk * kStemFramesPerUnit / kAverage);
}

// A frame gives one token at most, and a beam those that it kept waiting; results that are taken after every step never
// grow beyond this.
void Stream::reserve_results(int frames) {
    const int waiting = state_.beam ? kMostWaiting : 0;
    const std::size_t outputs = options_.keep_logits ? static_cast<std::size_t>(model_->config.outputs()) : 0;
    fresh_.tokens.reserve(frames + waiting);
    fresh_.logits.reserve(frames * outputs);
    pending_.tokens.reserve(frames + waiting);
    pending_.tentative.reserve(waiting);
    pending_.logits.reserve(frames * outputs);
}

void Stream::feed(std::span<const float> samples) {
    if (finished_) throw std::invalid_argument("the segment is finished: reset the stream before feeding it again");
    const std::size_t longest = static_cast<std::size_t>(model_->config.max_positions) * kStemFrameSamples;
    if (options_.chunk == kSegmentChunk && total_samples_ + samples.size() > longest)
        throw std::invalid_argument("a segment holds at most " + std::to_string(longest) + " samples");
    check_samples(samples);
    // The vector's own growth would keep twice the memory of a chunk with every live stream.
    const std::size_t needed = samples_.size() + samples.size();
    if (needed > samples_.capacity()) samples_.reserve(needed + needed / 8);
    samples_.insert(samples_.end(), samples.begin(), samples.end());
    total_samples_ += samples.size();
}

void Stream::finish() {
    finished_ = true;
    if (state_.beam && done()) state_.beam->tentative(true, pending_.tentative);
}

void Stream::reset() {
    if (stepping_) throw std::invalid_argument("an engine is computing this stream");
    state_.reset();
    samples_.clear();
    used_samples_ = 0;
    total_samples_ = 0;
    computed_stem_frames_ = 0;
    finished_ = false;
    take();
    pending_.tentative.clear();
    pending_.frames = pending_.trailing_blank_frames = 0;
}

std::size_t Stream::buffered_samples() const {
    const std::size_t used = static_cast<std::size_t>(computed_stem_frames_) * kStemFrameSamples;
    return total_samples_ > used ? total_samples_ - used : 0;
}

Result Stream::take() {
    Result result = pending_;
    pending_.tokens.clear();
    pending_.logits.clear();
    return result;
}

// Zero-padded to whole output frames.
int Stream::segment_stem_frames() const {
    return static_cast<int>((total_samples_ + kOutputFrameSamples - 1) / kOutputFrameSamples) * kAverage;
}

// Stem frame j sees mel frames up to 2j + 2, whose window ends 200 samples behind its centre.
int Stream::available_stem_frames() const {
    if (finished_) return segment_stem_frames() - computed_stem_frames_;
    if (total_samples_ < kHalfWindow) return 0;
    return static_cast<int>((total_samples_ - kHalfWindow) / kStemFrameSamples) - computed_stem_frames_;
}

int Stream::next_stem_frames() const {
    const int available = available_stem_frames();
    if (options_.chunk == kSegmentChunk) return finished_ ? available : 0;
    const int whole = options_.chunk * kStemFramesPerUnit;
    return available >= whole ? whole : finished_ ? available : 0;
}

// Every step but the last leaves the two mel frames around its end computed.
int Stream::next_mel_frame() const {
    return computed_stem_frames_ == 0 ? 0 : kMelFramesPerStemFrame * computed_stem_frames_ + 1;
}

Stream::Step Stream::next_step() const {
    Step step;
    step.stem_frames = next_stem_frames();
    if (step.stem_frames <= 0) return {};
    const int end = computed_stem_frames_ + step.stem_frames;
    step.last = finished_ && end == segment_stem_frames();
    step.mel_frames = kMelFramesPerStemFrame * end + (step.last ? 0 : 1) - next_mel_frame();
    step.samples = static_cast<std::size_t>(step.mel_frames - 1) * kHopSamples + kWindowSamples;
    return step;
}

void Stream::begin_step(const Step& step, float* samples) {
    const int first_frame = next_mel_frame();
    const std::size_t lead = first_frame == 0 ? kHalfWindow : 0;  // zeros before the segment
    const std::size_t present = std::min(step.samples - lead, samples_.size() - used_samples_);
    std::fill_n(samples, lead, 0.0f);
    std::copy_n(samples_.data() + used_samples_, present, samples + lead);
    std::fill(samples + lead + present, samples + step.samples, 0.0f);

    forget(step.last ? samples_.size() : static_cast<std::size_t>(step.mel_frames) * kHopSamples - lead);
    computed_stem_frames_ += step.stem_frames;
    stepping_ = true;
    reserve_results(step.stem_frames / kAverage);
}

// Moves what is left to the front when that is the smaller part, so that a long backlog is not moved at every step.
void Stream::forget(std::size_t count) {
    used_samples_ = std::min(used_samples_ + count, samples_.size());
    if (2 * used_samples_ < samples_.size()) return;
    samples_.erase(samples_.begin(), samples_.begin() + static_cast<std::ptrdiff_t>(used_samples_));
    used_samples_ = 0;
    constexpr std::size_t kLargestIdle = 1 << 15;  // two seconds
    if (samples_.empty() && samples_.capacity() > kLargestIdle) samples_ = std::vector<float>();
}

void Stream::end_step() {
    stepping_ = false;
    pending_.tokens.insert(pending_.tokens.end(), fresh_.tokens.begin(), fresh_.tokens.end());
    pending_.logits.insert(pending_.logits.end(), fresh_.logits.begin(), fresh_.logits.end());
    if (state_.beam) state_.beam->tentative(done(), pending_.tentative);
    pending_.frames = state_.searched_frames();
    pending_.trailing_blank_frames = state_.trailing_blank_frames();
    fresh_.tokens.clear();
    fresh_.logits.clear();
}

std::size_t Stream::resident_bytes() const {
    return sizeof(Stream) + state_.resident_bytes() + bytes_of(samples_) + bytes_of(fresh_.tokens) +
           bytes_of(fresh_.logits) + bytes_of(pending_.tokens) + bytes_of(pending_.tentative) +
           bytes_of(pending_.logits);
}

}  // namespace onebit
