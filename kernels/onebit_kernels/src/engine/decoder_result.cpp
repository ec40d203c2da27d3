// The end of a segment: the best text, what CTC says of it, and when its pieces were said.
#include <algorithm>
#include <cmath>

#include "../search/unheard_words.h"
#include "attention_decoder.h"

namespace onebit {
namespace {

// CTC is sure of a token when most of it is heard, and says it for a moment only: against the pauses of read speech
// pieces began a frame late and ended two early (docs/search.md).
constexpr int kLeadFrames = 1;
constexpr int kTailFrames = 2;

void widen(std::vector<PieceTime>& times, int frames) {
    int next = frames;
    for (auto time = times.rbegin(); time != times.rend(); ++time) {
        if (time->begin == time->end) continue;
        const int begin = std::max(0, time->begin - kLeadFrames);
        time->end = std::min(time->end + kTailFrames, std::max(time->end, next));
        next = begin;
    }
    int end = 0;
    for (PieceTime& time : times) {
        const bool is_silent = time.begin == time.end;
        time.begin = is_silent ? end : std::max(end, time.begin - kLeadFrames);
        if (is_silent) time.end = end;
        end = std::max(end, time.end);
    }
}

}  // namespace

void AttentionDecoder::finish(Decoding& decoding) {
    PieceSearch& search = decoding.search();
    float likelihood = 0.0f;
    if (spelling_) {
        ask_ctc(decoding);
        if (rewrites(decoding)) return;
        likelihood = align_with_ctc(decoding);
        const std::size_t heard = heard_pieces(search.pieces(), spelled_, *spelling_, lattice_, likelihood);
        if (heard < search.pieces().size()) {
            search.end_at(heard);
            likelihood = align_with_ctc(decoding);
        }
    }
    Written& written = decoding.result();
    for (std::size_t i = 0; i < search.pieces().size(); ++i)
        written.pieces.push_back({search.pieces()[i], search.log_probabilities()[i], 0, 0});
    written.no_speech_probability = search.no_speech_probability();
    written.mean_log_probability = search.mean_log_probability();
    written.loop = search.looped();
    tell_times_by_attention(decoding);
    if (spelling_) tell_times_by_ctc(decoding, likelihood);
    decoding.finish();
}

// A decoder may read the same frames twice. What it then writes twice was not said twice, and CTC knows: with one of the
// two the text is likelier. A text without an end need not be asked about.
bool AttentionDecoder::rewrites(Decoding& decoding) {
    PieceSearch& search = decoding.search();
    const std::span<const int> text = search.pieces();
    if (search.looped()) {
        const std::optional<Repetition> loop = find_loop(text);
        return loop && search.rewrite(loop->first + loop->length);
    }
    std::optional<Repetition> repetition = find_repetition(text, 0);
    if (!repetition) return false;
    spelling_->spell(text, spelled_);
    const float twice = lattice_.log_probability(ctc_scores(decoding), spelled_);
    for (; repetition; repetition = find_repetition(text, repetition->first + repetition->length)) {
        const auto end = text.begin() + static_cast<std::ptrdiff_t>(repetition->first + repetition->length);
        once_.assign(text.begin(), end);
        once_.insert(once_.end(), end + static_cast<std::ptrdiff_t>(repetition->length), text.end());
        spelling_->spell(once_, spelled_);
        if (lattice_.log_probability(ctc_scores(decoding), spelled_) > twice)
            return search.rewrite(repetition->first + repetition->length);
    }
    return false;
}

float AttentionDecoder::align_with_ctc(const Decoding& decoding) {
    const std::span<const int> text = decoding.search().pieces();
    spelling_->spell(text, spelled_);
    times_.resize(text.size());
    return lattice_.align(ctc_scores(decoding), spelled_, static_cast<int>(text.size()), times_.data());
}

// The head on the frames once more: that costs less than to remember what it said.
void AttentionDecoder::ask_ctc(Decoding& decoding) {
    PieceSearch& search = decoding.search();
    for (int first = 0; first < decoding.frames(); first += Decoding::kTileFrames) {
        const int count = std::min(Decoding::kTileFrames, decoding.frames() - first);
        float* scores = ctc_.data() + static_cast<std::ptrdiff_t>(first) * ctc_stride_;
        decoding.encoded().read(first, count, x_.data());
        linear(model_->head, x_.data(), count, {scores, ctc_stride_});
        operations_.log_softmax(scores, count, config_.outputs(), ctc_stride_);
    }
    if (decoding.ctc_weight() == 0.0f || search.ended_texts() < 2) return;
    for (int text = 0; text < search.ended_texts(); ++text) {
        spelling_->spell(search.ended_text(text), spelled_);
        search.join(text, lattice_.log_probability(ctc_scores(decoding), spelled_), decoding.ctc_weight());
    }
}

CtcScores AttentionDecoder::ctc_scores(const Decoding& decoding) const {
    return {ctc_.data(), decoding.frames(), config_.outputs(), ctc_stride_};
}

// Piece i was chosen by the row before it: the last one of the prompt chose the first piece, the last row chose the
// end, which is where the last piece ends.
void AttentionDecoder::tell_times_by_attention(Decoding& decoding) {
    std::vector<WrittenPiece>& pieces = decoding.result().pieces;
    const std::span<const int> rows = decoding.search().best_rows().subspan(kPromptPieces.size() - 1);
    const std::span<const int> aligned = rows.first(std::min(rows.size(), pieces.size() + 1));
    alignment_.align(decoding.weights(0), decoding.padded_frames(), aligned, decoding.frames(), first_frames_.data());
    for (std::size_t i = 0; i < pieces.size(); ++i) {
        pieces[i].frame = first_frames_[i];
        pieces[i].frames = (i + 1 < aligned.size() ? first_frames_[i + 1] : decoding.frames()) - first_frames_[i];
    }
}

void AttentionDecoder::tell_times_by_ctc(Decoding& decoding, float likelihood) {
    Written& written = decoding.result();
    const int count = static_cast<int>(written.pieces.size());
    written.ctc_agreement = (likelihood - lattice_.loudest()) / static_cast<float>(std::max(1, spelled_.letters()));
    if (decoding.timing() == Timing::attention || !std::isfinite(likelihood)) return;
    widen(times_, decoding.frames());
    for (int i = 0; i < count; ++i) {
        written.pieces[i].frame = times_[i].begin;
        written.pieces[i].frames = times_[i].end - times_[i].begin;
    }
}

}  // namespace onebit
