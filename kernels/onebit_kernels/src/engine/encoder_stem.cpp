// Log-mel and the convolution stem.
//
// Stem frame j is made of hidden frames 2j - 1 .. 2j + 1, and hidden frame i of mel frames i - 1 .. i + 1. Before the
// segment hidden frames are zero, and so are mel frames before it and behind its end. A span of stem frames j .. j + n
// - 1 therefore needs mel frames 2j - 2 .. 2(j + n): its rows of mel_. The stream remembers the first three of them.
#include <algorithm>

#include "../model/positions.h"
#include "encoder.h"

namespace onebit {

void Encoder::stem(const std::vector<StreamStep>& steps) {
    const int pieces = static_cast<int>(layout_->pieces.size()), spans = static_cast<int>(steps.size());
    for (int s = 0; s < spans; ++s) open_mel(steps[s], s);
    pool_.run(pieces, [&](int p, int worker) {
        const Piece& piece = layout_->pieces[p];
        log_mel(steps[piece.span], piece, desks_[worker]);
    });
    clock.charge(Stage::log_mel);
    for (int s = 0; s < spans; ++s) {
        const int frames = kMelFramesPerStemFrame * steps[s].step.stem_frames;
        std::copy_n(mel_row(s, frames), kRememberedMelFrames * config_.mel_bins, steps[s].stream->state().mel.data());
    }
    pool_.run(pieces, [&](int p, int worker) {
        const Piece& piece = layout_->pieces[p];
        convolve_stem(steps[piece.span], piece, desks_[worker]);
    });
    clock.charge(Stage::stem);
}

// Row `frame` of a span is mel frame 2j - 2 + frame, where j is its first stem frame.
float* Encoder::mel_row(int span, int frame) const {
    const int rows_before = kMelFramesPerStemFrame * first_piece(span).row + kRememberedMelFrames * span;
    return mel_.data() + static_cast<std::ptrdiff_t>(rows_before + frame) * config_.mel_bins;
}

void Encoder::open_mel(const StreamStep& step, int span) {
    std::copy_n(step.stream->state().mel.data(), kRememberedMelFrames * config_.mel_bins, mel_row(span, 0));
    const int frames = kMelFramesPerStemFrame * step.step.stem_frames + kRememberedMelFrames;
    if (step.step.last) std::fill_n(mel_row(span, frames - 1), config_.mel_bins, 0.0f);
}

// New mel frames are cut as the pieces are. A step begins with frame 2j + 1, except the first of a segment, with frame
// 0, and ends with frame 2(j + n), except the last, whose frame 2(j + n) is behind the end.
void Encoder::log_mel(const StreamStep& step, const Piece& piece, Desk& desk) {
    const int rows = kMelFramesPerStemFrame * rows_of(piece.span) + kRememberedMelFrames;
    const int first_new = rows - (step.step.last ? 1 : 0) - step.step.mel_frames;
    const int place = kMelFramesPerStemFrame * (piece.row - first_piece(piece.span).row);
    const int begin = piece.first ? first_new : place + kRememberedMelFrames;
    const int end =
        place + kMelFramesPerStemFrame * piece.rows + kRememberedMelFrames - (piece.last && step.step.last ? 1 : 0);
    const float* samples =
        samples_.data() + step.first_sample + static_cast<std::ptrdiff_t>(begin - first_new) * kHopSamples;
    operations_.log_mel(model_.log_mel.view(), samples, end - begin, mel_row(piece.span, begin), desk.scratch.data());
}

void Encoder::convolve_stem(const StreamStep& step, const Piece& piece, Desk& desk) {
    const int bins = config_.mel_bins, d = config_.d_model;
    const int frames = kMelFramesPerStemFrame * piece.rows + 1;  // hidden ones: 2j - 1 .. 2(j + rows) - 1
    const int first_stem_frame = step.stream->state().stem_frames + piece.row - first_piece(piece.span).row;
    const float* mel = mel_row(piece.span, kMelFramesPerStemFrame * (piece.row - first_piece(piece.span).row));
    float* hidden = desk.hidden.data();
    linear(model_.conv1, {mel, frames, 3 * bins, bins}, {hidden, d}, desk);
    operations_.gelu(hidden, static_cast<std::size_t>(frames) * d);
    if (first_stem_frame == 0) std::fill_n(hidden, d, 0.0f);
    linear(model_.conv2, {hidden, piece.rows, 3 * d, kMelFramesPerStemFrame * d}, {row(piece.row), d}, desk);
    operations_.gelu(row(piece.row), static_cast<std::size_t>(piece.rows) * d);
    add_positions(first_stem_frame, piece, desk);
}

void Encoder::add_positions(int first_position, const Piece& piece, Desk& desk) {
    const int d = config_.d_model;
    for (int done = 0; done < piece.rows;) {
        const int fine = (first_position + done) % kFinePositions;
        const int count = std::min(kFinePositions - fine, piece.rows - done);
        write_position(first_position + done - fine, d, desk.position.data());
        const float* fine_rows = model_.fine_positions.data() + static_cast<std::ptrdiff_t>(fine) * d;
        operations_.add_positions(row(piece.row + done), desk.position.data(), fine_rows, count, d);
        done += count;
    }
}

}  // namespace onebit
