// Segments and attention decoders. The interpreter lock protects the segments; only `compute` runs without it.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <chrono>
#include <optional>
#include <stdexcept>

#include "../engine/attention_decoder.h"
#include "../search/unheard_words.h"
#include "bindings.h"

namespace nb = nanobind;

namespace onebit {
namespace {

// A decoder with the references that keep its segments alive during a step; the vectors keep their memory.
class BoundDecoder {
public:
    BoundDecoder(std::shared_ptr<Model> model, int bits, bool exact, const AlignmentHeads& heads,
                 std::shared_ptr<CtcSpelling> spelling)
        : decoder_(std::move(model), bits, exact, heads, std::move(spelling)) {}

    void step(const nb::sequence& decodings, double max_milliseconds) {
        if (stepping_) throw std::runtime_error("this decoder is stepping already: use one decoder per thread");
        if (!(max_milliseconds >= 0.0)) throw std::invalid_argument("max_milliseconds must be 0 or more");
        try {
            hold(decodings);
            decoder_.begin(pointers_);
        } catch (...) {
            release();
            throw;
        }
        stepping_ = true;
        {
            const nb::gil_scoped_release without_lock;
            decoder_.compute(
                std::chrono::nanoseconds(static_cast<std::int64_t>(1e6 * std::min(max_milliseconds, 1e9))));
        }
        decoder_.end();
        stepping_ = false;
        release();
    }

    AttentionDecoder& decoder() { return decoder_; }

private:
    void hold(const nb::sequence& decodings) {
        for (const nb::handle item : decodings) {
            if (!nb::isinstance<Decoding>(item)) throw nb::type_error("decodings must be a sequence of Decoding");
            pointers_.push_back(nb::cast<Decoding*>(item));
            held_.push_back(nb::borrow(item));
        }
    }

    void release() {
        held_.clear();
        pointers_.clear();
    }

    AttentionDecoder decoder_;
    std::vector<nb::object> held_;
    std::vector<Decoding*> pointers_;
    bool stepping_ = false;
};

Timing timing_named(const std::string& name) {
    if (name == "attention") return Timing::attention;
    if (name == "ctc") return Timing::ctc;
    throw std::invalid_argument("timing must be attention or ctc");
}

std::shared_ptr<Decoding> open_decoding(BoundDecoder& bound, const Stream& stream, std::optional<int> frames, int beam,
                                        std::shared_ptr<Hotwords> hotwords, const std::string& timing,
                                        float ctc_weight) {
    if (frames && *frames < 0) throw std::invalid_argument("frames must be 0 or more");
    if (!(ctc_weight >= 0.0f && ctc_weight <= 1.0f)) throw std::invalid_argument("ctc_weight must be 0 to 1");
    return bound.decoder().open(
        stream, frames.value_or(-1),
        {.beam = beam, .hotwords = std::move(hotwords), .timing = timing_named(timing), .ctc_weight = ctc_weight});
}

const Written& written(const Decoding& decoding) {
    if (!decoding.done()) throw std::runtime_error("the segment is not written yet: step it until it is done");
    return decoding.written();
}

void bind_written(nb::module_& module) {
    nb::class_<WrittenPiece>(module, "WrittenPiece")
        .def_ro("id", &WrittenPiece::id)
        .def_ro("log_probability", &WrittenPiece::log_probability)
        .def_ro("frame", &WrittenPiece::frame)
        .def_ro("frames", &WrittenPiece::frames)
        .def("__repr__", [](const WrittenPiece& piece) {
            return nb::str("WrittenPiece(id={}, log_probability={:.3f}, frame={}, frames={})")
                .format(piece.id, piece.log_probability, piece.frame, piece.frames);
        });
    nb::class_<Written>(module, "Written")
        .def_ro("pieces", &Written::pieces)
        .def_ro("no_speech_probability", &Written::no_speech_probability)
        .def_ro("mean_log_probability", &Written::mean_log_probability)
        .def_ro("ctc_agreement", &Written::ctc_agreement)
        .def_ro("loop", &Written::loop);
}

// The search and the alignment by themselves, for tests.

using Rows = nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

std::vector<int> copied(std::span<const int> values) { return {values.begin(), values.end()}; }

void advance(PieceSearch& search, const Rows& rows) {
    if (search.ended()) throw std::invalid_argument("the search has ended");
    if (rows.shape(0) != static_cast<std::size_t>(search.open_texts()) ||
        rows.shape(1) != static_cast<std::size_t>(search.vocabulary()))
        throw std::invalid_argument("rows must be (open texts, vocabulary)");
    search.advance(rows.data(), static_cast<std::ptrdiff_t>(rows.shape(1)));
}

std::vector<std::vector<int>> open_texts(const PieceSearch& search) {
    std::vector<std::vector<int>> texts;
    for (int i = 0; i < search.open_texts(); ++i) texts.push_back(copied(search.text(i)));
    return texts;
}

const PieceSearch& ended(const PieceSearch& search) {
    if (!search.ended()) throw std::runtime_error("the search has not ended");
    return search;
}

std::optional<std::pair<std::size_t, std::size_t>> bounds(const std::optional<Repetition>& found) {
    return found ? std::optional(std::pair(found->first, found->length)) : std::nullopt;
}

std::vector<int> align(const Rows& weights) {
    const auto rows = static_cast<int>(weights.shape(0)), frames = static_cast<int>(weights.shape(1));
    std::vector<int> order(weights.shape(0)), first_frames(weights.shape(0));
    for (int row = 0; row < rows; ++row) order[row] = row;
    AlignmentDesk desk;
    desk.reserve(rows, frames);
    desk.align(weights.data(), frames, order, frames, first_frames.data());
    return first_frames;
}

CtcScores checked_scores(const CtcSpelling& spelling, const Rows& log_probabilities, const std::vector<int>& pieces) {
    for (const int piece : pieces)
        if (piece < 0 || piece >= spelling.pieces()) throw std::invalid_argument("no piece " + std::to_string(piece));
    if (log_probabilities.shape(1) != static_cast<std::size_t>(spelling.ctc_outputs()))
        throw std::invalid_argument("log_probabilities must be (frames, outputs)");
    return {log_probabilities.data(), static_cast<int>(log_probabilities.shape(0)), spelling.ctc_outputs(),
            spelling.ctc_outputs()};
}

// A text on the lattice of its spellings, aligned to what CTC said.
struct AlignedText {
    AlignedText(const CtcSpelling& spelling, const Rows& log_probabilities, const std::vector<int>& pieces)
        : scores(checked_scores(spelling, log_probabilities, pieces)), times(pieces.size()) {
        spelling.spell(pieces, spelled);
        best = lattice.align(scores, spelled, static_cast<int>(pieces.size()), times.data());
    }

    CtcScores scores;
    SpelledText spelled;
    CtcLattice lattice;
    std::vector<PieceTime> times;
    float best;
};

std::size_t count_heard(const CtcSpelling& spelling, const Rows& log_probabilities, const std::vector<int>& pieces) {
    const AlignedText text(spelling, log_probabilities, pieces);
    return heard_pieces(pieces, text.spelled, spelling, text.lattice, text.best);
}

// (begin, end) frames of each piece, the best alignment's log-probability, and that of all of them.
nb::tuple align_by_ctc(const CtcSpelling& spelling, const Rows& log_probabilities, const std::vector<int>& pieces) {
    AlignedText text(spelling, log_probabilities, pieces);
    std::vector<std::pair<int, int>> frames;
    for (const PieceTime& time : text.times) frames.emplace_back(time.begin, time.end);
    return nb::make_tuple(std::move(frames), text.best, text.lattice.log_probability(text.scores, text.spelled));
}

void make_spelling(CtcSpelling* place, const std::vector<nb::bytes>& pieces,
                   const std::vector<std::string>& ctc_pieces) {
    std::vector<std::string> plain;
    for (const nb::bytes& piece : pieces) plain.emplace_back(piece.c_str(), piece.size());
    new (place) CtcSpelling(plain, ctc_pieces);
}

void bind_spelling(nb::module_& module) {
    nb::class_<CtcSpelling>(module, "CtcSpelling")
        .def("__init__", &make_spelling, nb::arg("pieces"), nb::arg("ctc_pieces"))
        .def("align", &align_by_ctc, nb::arg("log_probabilities"), nb::arg("pieces"))
        .def("heard_pieces", &count_heard, nb::arg("log_probabilities"), nb::arg("pieces"))
        .def_prop_ro("resident_bytes", &CtcSpelling::resident_bytes);
}

void bind_piece_search(nb::module_& module) {
    module.def("align", &align, nb::arg("weights"));
    module.def(
        "find_repetition",
        [](const std::vector<int>& pieces, std::size_t begin) { return bounds(find_repetition(pieces, begin)); },
        nb::arg("pieces"), nb::arg("begin") = 0);
    module.def(
        "find_loop", [](const std::vector<int>& pieces) { return bounds(find_loop(pieces)); }, nb::arg("pieces"));
    nb::class_<PieceSearch>(module, "PieceSearch")
        .def(
            "__init__",
            [](PieceSearch* place, int width, int vocabulary, int most_pieces, std::shared_ptr<Hotwords> hotwords) {
                new (place) PieceSearch(width, vocabulary, most_pieces, std::move(hotwords));
            },
            nb::arg("width"), nb::arg("vocabulary"), nb::arg("most_pieces"), nb::arg("hotwords") = nb::none())
        .def("advance", &advance, nb::arg("log_probabilities"))
        .def(
            "rewrite",
            [](PieceSearch& search, std::size_t length) {
                if (length < 1 || length >= ended(search).pieces().size())
                    throw std::invalid_argument("length must be 1 to what the text has, less 1");
                return search.rewrite(length);
            },
            nb::arg("length"))
        .def_prop_ro("open_texts", &open_texts)
        .def_prop_ro("ended", &PieceSearch::ended)
        .def_prop_ro("pieces", [](const PieceSearch& search) { return copied(ended(search).pieces()); })
        .def_prop_ro("mean_log_probability",
                     [](const PieceSearch& search) { return ended(search).mean_log_probability(); })
        .def_prop_ro("looped", [](const PieceSearch& search) { return ended(search).looped(); })
        .def_prop_ro("no_speech_probability", &PieceSearch::no_speech_probability);
}

}  // namespace

void bind_decoder(nb::module_& module) {
    bind_spelling(module);
    bind_piece_search(module);
    bind_written(module);
    nb::class_<Decoding>(module, "Decoding")
        .def_prop_ro("done", &Decoding::done)
        .def_prop_ro("written", &written, nb::rv_policy::copy)
        .def_prop_ro("frames", &Decoding::frames)
        .def_prop_ro("resident_bytes", &Decoding::resident_bytes);
    nb::class_<BoundDecoder>(module, "AttentionDecoder")
        .def(nb::init<std::shared_ptr<Model>, int, bool, const AlignmentHeads&, std::shared_ptr<CtcSpelling>>(),
             nb::arg("model"), nb::arg("bits"), nb::arg("exact") = false, nb::arg("alignment_heads") = AlignmentHeads(),
             nb::arg("spelling") = nb::none())
        .def("open", &open_decoding, nb::arg("stream"), nb::arg("frames") = nb::none(), nb::arg("beam") = 1,
             nb::arg("hotwords") = nb::none(), nb::arg("timing") = "attention", nb::arg("ctc_weight") = 0.0f)
        .def("step", &BoundDecoder::step, nb::arg("decodings"), nb::arg("max_milliseconds") = 20.0)
        .def_prop_ro("bits", [](BoundDecoder& bound) { return bound.decoder().bits(); })
        .def_prop_ro("exact", [](BoundDecoder& bound) { return bound.decoder().exact(); })
        .def_prop_ro("resident_bytes", [](BoundDecoder& bound) { return bound.decoder().resident_bytes(); });
}

}  // namespace onebit
