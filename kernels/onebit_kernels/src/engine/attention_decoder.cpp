#include "attention_decoder.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>

namespace onebit {
namespace {

constexpr int kLogitQuantum = 16;
constexpr int kStepRows = 48;  // twice what the products prepare at once (gemm/multiply.cpp)
static_assert(kStepRows >= Decoding::kTileFrames && kStepRows >= kWidestPieceBeam &&
              kStepRows >= static_cast<int>(kPromptPieces.size()));

int widest_layer(const ModelConfig& config) { return std::max(config.decoder_feed_forward, 3 * config.d_model); }

std::vector<bool> chosen(const ModelConfig& config, const AlignmentHeads& heads) {
    std::vector<bool> knows(static_cast<std::size_t>(config.decoder_blocks) * config.heads);
    for (const auto& [block, head] : heads) {
        if (block < 0 || block >= config.decoder_blocks || head < 0 || head >= config.heads)
            throw std::invalid_argument("alignment heads: the decoder has no head " + std::to_string(head) +
                                        " in block " + std::to_string(block));
        knows[static_cast<std::size_t>(block) * config.heads + head] = true;
    }
    if (heads.empty())
        std::fill(knows.begin() + static_cast<std::ptrdiff_t>(config.decoder_blocks / 2) * config.heads, knows.end(),
                  true);
    return knows;
}

const Model& checked(const Model& model, int bits) {
    if (!model.config.has_decoder()) throw std::invalid_argument("the model has no attention decoder");
    if (!model.holds(bits)) throw std::invalid_argument("the model holds no " + std::to_string(bits) + "-bit weights");
    return model;
}

}  // namespace

AttentionDecoder::AttentionDecoder(std::shared_ptr<const Model> model, int bits, bool exact,
                                   const AlignmentHeads& heads, std::shared_ptr<const CtcSpelling> spelling)
    : model_(std::move(model)),
      config_(checked(*model_, bits).config),
      operations_(*model_->operations),
      cache_(exact ? operations_.exact_cache : operations_.fast_cache),
      frames_(exact ? operations_.exact_cache : operations_.frames_cache),
      bits_(bits),
      exact_(exact),
      spelling_(std::move(spelling)),
      ctc_stride_((config_.outputs() + kLogitQuantum - 1) / kLogitQuantum * kLogitQuantum),
      knows_(chosen(config_, heads)) {
    if (spelling_ &&
        (spelling_->pieces() != config_.decoder_vocabulary_size || spelling_->ctc_outputs() != config_.outputs()))
        throw std::invalid_argument("the spelling is of other vocabularies");
    const std::size_t rows = kStepRows, d = config_.d_model;
    const int longest = std::max(config_.max_positions / kAverage + Decoding::kTileFrames, config_.decoder_positions);
    x_.ensure(rows * d);
    normed_.ensure(rows * d);
    wide_.ensure(rows * widest_layer(config_));
    logits_.ensure(rows * config_.decoder_vocabulary_size);
    scratch_.ensure(attention_scratch(config_.head_dim(), longest));
    gemm_workspace_.ensure(gemm::linear_workspace_bytes(widest_layer(config_)));
    first_frames_.resize(static_cast<std::size_t>(config_.decoder_positions) + 1);
    groups_.reserve(rows);
    if (spelling_) ctc_.ensure(static_cast<std::size_t>(config_.max_positions / kAverage) * ctc_stride_);
}

std::shared_ptr<Decoding> AttentionDecoder::open(const Stream& stream, int frames,
                                                 const DecodingOptions& options) const {
    if (&stream.model() != model_.get() || stream.bits() != bits_ || stream.exact() != exact_)
        throw std::invalid_argument("a stream of another model, precision or mode cannot be written by this decoder");
    if (stream.stepping()) throw std::invalid_argument("an engine is computing this stream");
    const EncodedFrames* encoded = stream.state().encoded.get();
    if (!encoded) throw std::invalid_argument("the stream keeps no encoder output: open it with keep_encoded");
    if (!spelling_ && (options.timing == Timing::ctc || options.ctc_weight > 0.0f))
        throw std::invalid_argument("CTC can be asked only where the decoder has a spelling");
    const int count = frames < 0 ? encoded->frames() : std::min(frames, encoded->frames());
    return std::make_shared<Decoding>(model_, bits_, exact_, EncodedFrames(*encoded, count), options);
}

// ------------------------------------------------------------------------------------------------------------- a step

void AttentionDecoder::check(const Decoding& decoding) const {
    if (&decoding.model() != model_.get() || decoding.bits() != bits_ || decoding.exact() != exact_)
        throw std::invalid_argument("a segment of another model, precision or mode cannot be written by this decoder");
    if (decoding.stepping()) throw std::invalid_argument("a segment is given twice, or to two decoders at once");
    if (decoding.done()) throw std::invalid_argument("a segment is done");
}

void AttentionDecoder::reserve_results(const Decoding& decoding) {
    alignment_.reserve(decoding.most_pieces() + 1, decoding.frames());
    if (!spelling_) return;
    lattice_.reserve(decoding.frames());
    spelling_->reserve(decoding.most_pieces(), spelled_);
    times_.reserve(static_cast<std::size_t>(decoding.most_pieces()));
    once_.reserve(static_cast<std::size_t>(decoding.most_pieces()));
}

void AttentionDecoder::begin(std::span<Decoding* const> decodings) {
    decodings_.clear();
    try {
        for (Decoding* decoding : decodings) {
            check(*decoding);
            reserve_results(*decoding);
            decodings_.push_back(decoding);
            decoding->set_stepping(true);
        }
    } catch (...) {
        end();
        throw;
    }
    turn_ = 0;
}

void AttentionDecoder::compute(std::chrono::nanoseconds time) {
    const auto start = std::chrono::steady_clock::now();
    while (work() && std::chrono::steady_clock::now() - start < time) {
    }
}

void AttentionDecoder::end() {
    for (Decoding* decoding : decodings_) decoding->set_stepping(false);
    decodings_.clear();
}

// The smallest amount of it. Frames come first: then more texts are written together.
bool AttentionDecoder::work() {
    if (Decoding* decoding = next_projecting()) {
        project(*decoding);
        return true;
    }
    if (!gather()) return false;
    embed();
    for (int i = 0; i < config_.decoder_blocks; ++i) block(i);
    answer();
    return true;
}

Decoding* AttentionDecoder::next_projecting() {
    const auto found = std::ranges::find_if(decodings_, [](const Decoding* d) { return d->projecting(); });
    return found == decodings_.end() ? nullptr : *found;
}

void AttentionDecoder::project(Decoding& decoding) {
    const int d = config_.d_model, tile = decoding.next_tile(), first = tile * Decoding::kTileFrames;
    const int count = std::min(Decoding::kTileFrames, decoding.frames() - first);
    decoding.encoded().read(first, count, x_.data());
    for (int i = 0; i < config_.decoder_blocks; ++i) {
        linear(model_->decoder.blocks[i].cross_key_value, x_.data(), count, {wide_.data(), 2 * d});
        frames_.pack(wide_.data(), wide_.data() + d, 2 * d, {config_.heads, config_.head_dim()},
                     decoding.key_blocks(i)[tile]);
    }
    decoding.end_tile();
}

// Texts of segments in turn, as many as there is room for.
bool AttentionDecoder::gather() {
    groups_.clear();
    rows_ = answers_ = 0;
    const std::size_t count = decodings_.size();
    for (std::size_t i = 0; i < count; ++i) {
        Decoding& decoding = *decodings_[(turn_ + i) % count];
        if (decoding.search().ended()) continue;
        const int rows = decoding.begun() ? decoding.search().open_texts() : static_cast<int>(kPromptPieces.size());
        if (rows_ + rows > kStepRows) {
            turn_ = (turn_ + i) % count;
            break;
        }
        add_group(decoding);
    }
    return rows_ > 0;
}

void AttentionDecoder::add_group(Decoding& decoding) {
    const PieceSearch& search = decoding.search();
    Group group{&decoding, rows_, static_cast<int>(kPromptPieces.size()), 0, 1};
    if (decoding.begun()) {
        group.rows = group.answers = search.open_texts();
        group.first_row = search.rows(0).back();
    }
    for (int r = 0; r < group.rows; ++r)
        std::fill_n(decoding.weights(group.first_row + r), decoding.padded_frames(), 0.0f);
    groups_.push_back(group);
    rows_ += group.rows;
    answers_ += group.answers;
}

// The prompt is one text of which every piece has a row here, later rows are the newest pieces of all texts.
std::span<const int> AttentionDecoder::past_of(const Group& group, int row) const {
    const PieceSearch& search = group.decoding->search();
    return group.decoding->begun() ? search.rows(row) : search.rows(0).first(static_cast<std::size_t>(row) + 1);
}

// -------------------------------------------------------------------------------------------------------- the network

void AttentionDecoder::embed() {
    const std::size_t d = config_.d_model;
    for (const Group& group : groups_) {
        for (int r = 0; r < group.rows; ++r) {
            const int piece = group.decoding->begun() ? group.decoding->search().text(r).back() : kPromptPieces[r];
            const std::size_t position = past_of(group, r).size() - 1;
            float* x = row(group.first + r);
            model_->decoder.embedding.read_row(piece, bits_, x);
            operations_.add_scaled(x, model_->decoder.positions.data() + position * d, 1.0f, d);
        }
    }
}

void AttentionDecoder::block(int index) {
    const DecoderBlockWeights& weights = model_->decoder.blocks[index];
    attend_to_pieces(weights, index);
    attend_to_frames(weights, index);
    feed_forward(weights);
}

void AttentionDecoder::attend_to_pieces(const DecoderBlockWeights& weights, int index) {
    const int d = config_.d_model;
    const std::size_t row_bytes = d * cache_.element_bytes;
    normalise(weights.self_norm, x_.data(), normed_.data(), rows_);
    linear(weights.query_key_value, normed_.data(), rows_, {wide_.data(), 3 * d});
    for (const Group& group : groups_) {
        std::byte *keys = group.decoding->self_keys(index), *values = group.decoding->self_values(index);
        for (int r = 0; r < group.rows; ++r) {
            const float* query = wide_.data() + static_cast<std::ptrdiff_t>(group.first + r) * 3 * d;
            const std::size_t place = row_bytes * static_cast<std::size_t>(group.first_row + r);
            cache_.write(query + d, keys + place, d);
            cache_.write(query + 2 * d, values + place, d);
            const std::span<const int> past = past_of(group, r);
            cache_.attend_rows({.query = query,
                                .scale = 1.0f / std::sqrt(static_cast<float>(config_.head_dim())),
                                .shape = {config_.heads, config_.head_dim()},
                                .keys = keys,
                                .values = values,
                                .rows = past.data(),
                                .count = static_cast<int>(past.size()),
                                .out = normed_.data() + static_cast<std::ptrdiff_t>(group.first + r) * d,
                                .scratch = scratch_.data()});
        }
    }
    linear(weights.self_output, normed_.data(), rows_, {wide_.data(), d});
    add_residual(wide_.data());
}

void AttentionDecoder::attend_to_frames(const DecoderBlockWeights& weights, int index) {
    const int d = config_.d_model;
    normalise(weights.cross_norm, x_.data(), normed_.data(), rows_);
    linear(weights.cross_query, normed_.data(), rows_, {wide_.data(), d});
    for (const Group& group : groups_) {
        const std::span<const KeyBlock> blocks = group.decoding->key_blocks(index);
        float* queries = wide_.data() + static_cast<std::ptrdiff_t>(group.first) * d;
        for (int head = 0; head < config_.heads; ++head) {
            const bool knows = knows_[static_cast<std::size_t>(index) * config_.heads + head];
            frames_.attend({.queries = queries,
                            .stride = d,
                            .rows = group.rows,
                            .scale = 1.0f / std::sqrt(static_cast<float>(config_.head_dim())),
                            .shape = {config_.heads, config_.head_dim()},
                            .head = head,
                            .blocks = blocks.data(),
                            .block_count = static_cast<int>(blocks.size()),
                            .out = queries,
                            .scratch = scratch_.data(),
                            .weights = knows ? group.decoding->weights(group.first_row) : nullptr,
                            .weight_stride = group.decoding->padded_frames()});
        }
    }
    linear(weights.cross_output, wide_.data(), rows_, {normed_.data(), d});
    add_residual(normed_.data());
}

void AttentionDecoder::feed_forward(const DecoderBlockWeights& weights) {
    const int d = config_.d_model, wide = config_.decoder_feed_forward;
    normalise(weights.feed_forward_norm, x_.data(), normed_.data(), rows_);
    linear(weights.up, normed_.data(), rows_, {wide_.data(), wide});
    operations_.gelu(wide_.data(), static_cast<std::size_t>(rows_) * wide);
    linear(weights.down, wide_.data(), rows_, {normed_.data(), d});
    add_residual(normed_.data());
}

// Logits of the rows that are asked for; the search of each segment goes on with them.
void AttentionDecoder::answer() {
    const int d = config_.d_model, pieces = config_.decoder_vocabulary_size;
    int answers = 0;
    for (const Group& group : groups_) {
        const float* from = row(group.first + group.rows - group.answers);
        normalise(model_->decoder.norm, from, normed_.data() + static_cast<std::ptrdiff_t>(answers) * d, group.answers);
        answers += group.answers;
    }
    linear(model_->decoder.embedding, normed_.data(), answers, {logits_.data(), pieces});
    operations_.log_softmax(logits_.data(), answers, pieces, pieces);
    const float* logits = logits_.data();
    for (const Group& group : groups_) {
        Decoding& decoding = *group.decoding;
        decoding.search().advance(logits, pieces);
        decoding.begin();
        logits += static_cast<std::ptrdiff_t>(group.answers) * pieces;
        if (decoding.search().ended()) finish(decoding);
    }
}

// ------------------------------------------------------------------------------------------------------------- layers

void AttentionDecoder::normalise(const Norm& norm, const float* x, float* y, int rows) const {
    const NormWeights& weights = norm.at(bits_);
    operations_.layer_norm(x, weights.weight.data(), weights.bias.data(), y, rows, config_.d_model);
}

void AttentionDecoder::linear(const Layer& layer, const float* x, int rows, const gemm::Rows& y) {
    const int columns = layer.columns();
    layer.multiply({x, rows, columns, columns}, bits_, exact_ ? gemm::Mode::exact : gemm::Mode::fast, y,
                   gemm_workspace_.data());
}

void AttentionDecoder::add_residual(const float* y) {
    operations_.add_scaled(x_.data(), y, 1.0f, static_cast<std::size_t>(rows_) * config_.d_model);
}

std::size_t AttentionDecoder::resident_bytes() const {
    return x_.bytes() + normed_.bytes() + wide_.bytes() + logits_.bytes() + scratch_.bytes() + gemm_workspace_.bytes() +
           alignment_.resident_bytes() + ctc_.bytes() + lattice_.resident_bytes();
}

}  // namespace onebit
