// Log-mel and the convolution stem: per stream, piece by piece, so that a long segment needs no more memory than a chunk.
#include <algorithm>

#include "../model/positions.h"
#include "encoder.h"

namespace onebit {

void Encoder::stem(const StreamStep& step, int first_row) {
    StreamState& state = step.stream->state();
    const float* samples = samples_.data() + step.first_sample;
    int mel_frames_left = step.step.mel_frames;
    for (int done = 0; done < step.step.stem_frames; done += kPieceRows) {
        const int rows = std::min(kPieceRows, step.step.stem_frames - done);
        const bool last = done + rows == step.step.stem_frames;
        const bool very_first = state.stem_frames + done == 0;
        const int mel_frames = last ? mel_frames_left : kMelFramesPerStemFrame * rows + (very_first ? 1 : 0);
        float* out = row(first_row + done);
        stem_piece(step, samples, mel_frames, out, rows, last && step.step.last);
        add_positions(out, state.stem_frames + done, rows);
        clock.charge(Stage::stem);
        samples += static_cast<std::ptrdiff_t>(mel_frames) * kHopSamples;
        mel_frames_left -= mel_frames;
    }
}

// Stem frames j .. j + rows - 1 need hidden frames 2j - 1 .. 2(j + rows) - 1, of which the first is remembered, and those need
// mel frames 2j - 1 .. 2(j + rows), of which the first two are remembered. Before the segment both are zero; behind its end
// the one mel frame that is seen there is zero. At the very start mel frame 0 is new and only frame -1 is remembered.
void Encoder::stem_piece(const StreamStep& step, const float* samples, int mel_frames, float* out, int rows, bool last) {
    StemState& state = step.stream->state().stem;
    const int bins = config_.mel_bins, d = config_.d_model, hidden_frames = kMelFramesPerStemFrame * rows;
    const int remembered = hidden_frames + 2 - (last ? 1 : 0) - mel_frames;
    float* mel = mel_.data();
    std::copy_n(state.mel.data() + (2 - remembered) * bins, remembered * bins, mel);
    operations_.log_mel(model_.log_mel.view(), samples, mel_frames, mel + remembered * bins, scratch_.data());
    if (last) std::fill_n(mel + (hidden_frames + 1) * bins, bins, 0.0f);
    std::copy_n(mel + hidden_frames * bins, 2 * bins, state.mel.data());
    clock.charge(Stage::log_mel);

    float* hidden = hidden_.data();
    std::copy_n(state.hidden.data(), d, hidden);
    linear(model_.conv1, mel, hidden_frames, bins, hidden + d);
    operations_.gelu(hidden + d, static_cast<std::size_t>(hidden_frames) * d);
    std::copy_n(hidden + static_cast<std::ptrdiff_t>(hidden_frames) * d, d, state.hidden.data());
    linear(model_.conv2, hidden, rows, kMelFramesPerStemFrame * d, out);
    operations_.gelu(out, static_cast<std::size_t>(rows) * d);
}

void Encoder::add_positions(float* x, int first_position, int rows) {
    const int d = config_.d_model;
    for (int done = 0; done < rows; done += kFinePositions) {
        const int count = std::min(kFinePositions, rows - done);
        write_position(first_position + done, d, position_.data());
        operations_.add_positions(x + static_cast<std::ptrdiff_t>(done) * d, position_.data(), model_.fine_positions.data(), count, d);
    }
}

}  // namespace onebit
