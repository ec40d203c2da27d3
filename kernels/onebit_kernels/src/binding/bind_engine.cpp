// Streams and engines. The interpreter lock protects the streams; only `compute`, which owns what it reads, runs
// without it.
#include <nanobind/nanobind.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <stdexcept>

#include "../engine/engine.h"
#include "arrays.h"
#include "bindings.h"

namespace nb = nanobind;

namespace onebit {
namespace {

// An engine with the references that keep its streams alive during a step; the vectors keep their memory.
class BoundEngine {
public:
    BoundEngine(std::shared_ptr<Model> model, int bits, bool exact, int threads)
        : engine_(std::move(model), bits, exact, threads) {}

    void step(const nb::sequence& streams) {
        if (stepping_) throw std::runtime_error("this engine is stepping already: use one engine per thread");
        try {
            hold(streams);
            engine_.begin(pointers_);
        } catch (...) {
            release();
            throw;
        }
        stepping_ = true;
        {
            const nb::gil_scoped_release without_lock;
            engine_.compute();
        }
        engine_.end();
        stepping_ = false;
        release();
    }

    Engine& engine() { return engine_; }

private:
    void hold(const nb::sequence& streams) {
        for (const nb::handle item : streams) {
            if (!nb::isinstance<Stream>(item)) throw nb::type_error("streams must be a sequence of Stream");
            pointers_.push_back(nb::cast<Stream*>(item));
            held_.push_back(nb::borrow(item));
        }
    }

    void release() {
        held_.clear();
        pointers_.clear();
    }

    Engine engine_;
    std::vector<nb::object> held_;
    std::vector<Stream*> pointers_;
    bool stepping_ = false;
};

nb::dict stage_seconds(BoundEngine& bound) {
    nb::dict seconds;
    StageClock& clock = bound.engine().clock();
    for (std::size_t i = 0; i < kStages; ++i) seconds[kStageNames[i]] = clock.seconds()[i];
    clock.clear();
    return seconds;
}

using LogProbabilities = nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

// What Python sees of a Result: the logits as an array.
struct BoundResult {
    std::vector<Token> tokens;
    std::vector<Token> tentative;
    int frames;
    int trailing_blank_frames;
    nb::object logits;
};

BoundResult take(Stream& stream) {
    Result result = stream.take();
    const auto outputs = static_cast<std::size_t>(stream.model().config.outputs());
    nb::object logits = stream.keeps_logits() ? matrix_array(std::move(result.logits), outputs) : nb::none();
    return {std::move(result.tokens), std::move(result.tentative), result.frames, result.trailing_blank_frames,
            std::move(logits)};
}

void feed(Stream& stream, const Samples& array) {
    const FloatVector samples(array);
    stream.feed({samples.data(), samples.size()});
}

void bind_results(nb::module_& module) {
    nb::class_<Token>(module, "Token")
        .def_ro("id", &Token::id)
        .def_ro("frame", &Token::frame)
        .def_ro("frames", &Token::frames)
        .def_ro("confidence", &Token::confidence)
        .def("__repr__", [](const Token& token) {
            return nb::str("Token(id={}, frame={}, frames={}, confidence={:.3f})")
                .format(token.id, token.frame, token.frames, token.confidence);
        });
    nb::class_<BoundResult>(module, "Result")
        .def_ro("tokens", &BoundResult::tokens)
        .def_ro("tentative", &BoundResult::tentative)
        .def_ro("frames", &BoundResult::frames)
        .def_ro("trailing_blank_frames", &BoundResult::trailing_blank_frames)
        .def_ro("logits", &BoundResult::logits);
}

// A beam search over given log-probabilities, for tests.
nb::tuple advance_search(BeamSearch& search, const LogProbabilities& rows, bool ended) {
    if (rows.shape(1) != static_cast<std::size_t>(search.outputs()))
        throw std::invalid_argument("rows must have one column per output");
    std::vector<Token> tokens, tentative;
    search.advance(rows.data(), static_cast<int>(rows.shape(0)), static_cast<int>(rows.shape(1)), tokens);
    search.tentative(ended, tentative);
    return nb::make_tuple(std::move(tokens), std::move(tentative));
}

template <typename T>
using Row = nb::ndarray<const T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

template <typename T>
std::vector<T> copied(const Row<T>& row) {
    return {row.data(), row.data() + row.shape(0)};
}

void make_language_model(LanguageModel* place, const Row<std::uint16_t>& tokens,
                         const Row<std::uint8_t>& log_probabilities, const Row<std::uint8_t>& backoffs,
                         const Row<std::uint16_t>& children, int outputs, float weight, float token_bonus) {
    new (place) LanguageModel({copied(tokens), copied(log_probabilities), copied(backoffs), copied(children)}, outputs,
                              weight, token_bonus);
}

std::shared_ptr<Hotwords> hotwords_of_bytes(const std::vector<std::string>& phrases,
                                            const std::vector<nb::bytes>& pieces, float bonus_per_letter) {
    std::vector<std::string> plain;
    for (const nb::bytes& piece : pieces) plain.emplace_back(piece.c_str(), piece.size());
    return std::make_shared<Hotwords>(Hotwords::of_bytes(phrases, plain, bonus_per_letter));
}

void bind_search(nb::module_& module) {
    nb::class_<Hotwords>(module, "Hotwords")
        .def(nb::init<const std::vector<std::string>&, const std::vector<std::string>&, float>(), nb::arg("phrases"),
             nb::arg("pieces"), nb::arg("bonus_per_letter") = kBonusPerLetter)
        .def_static("of_bytes", &hotwords_of_bytes, nb::arg("phrases"), nb::arg("pieces"),
                    nb::arg("bonus_per_letter") = kBonusPerWrittenLetter)
        .def_prop_ro("resident_bytes", &Hotwords::resident_bytes);
    nb::class_<LanguageModel>(module, "LanguageModel")
        .def("__init__", &make_language_model, nb::arg("tokens"), nb::arg("log_probabilities"), nb::arg("backoffs"),
             nb::arg("children"), nb::arg("outputs"), nb::arg("weight"), nb::arg("token_bonus"))
        .def_prop_ro("resident_bytes", &LanguageModel::resident_bytes);
    nb::class_<BeamSearch>(module, "BeamSearch")
        .def(
            "__init__",
            [](BeamSearch* place, int width, int outputs, std::shared_ptr<Hotwords> hotwords,
               std::shared_ptr<LanguageModel> language_model) {
                new (place) BeamSearch(width, outputs, std::move(hotwords), std::move(language_model));
            },
            nb::arg("width"), nb::arg("outputs"), nb::arg("hotwords") = nb::none(),
            nb::arg("language_model") = nb::none())
        .def("advance", &advance_search, nb::arg("log_probabilities"), nb::arg("ended") = true)
        .def_prop_ro("resident_bytes", &BeamSearch::resident_bytes);
}

void bind_stream(nb::module_& module) {
    nb::class_<Stream>(module, "Stream")
        .def("feed", &feed, nb::arg("samples"))
        .def("finish", &Stream::finish)
        .def("reset", &Stream::reset)
        .def("take", &take)
        .def_prop_ro("ready", &Stream::ready)
        .def_prop_ro("done", &Stream::done)
        .def_prop_ro("encoded_frames", &Stream::encoded_frames)
        .def_prop_ro("buffered_samples", &Stream::buffered_samples)
        .def_prop_ro("chunk", &Stream::chunk)
        .def_prop_ro("resident_bytes", &Stream::resident_bytes);
}

std::shared_ptr<Stream> open_stream(BoundEngine& bound, int chunk, bool keep_logits, int beam,
                                    std::shared_ptr<Hotwords> hotwords, std::shared_ptr<LanguageModel> language_model,
                                    bool keep_encoded) {
    return bound.engine().open({.chunk = chunk,
                                .keep_logits = keep_logits,
                                .keep_encoded = keep_encoded,
                                .beam = beam,
                                .hotwords = std::move(hotwords),
                                .language_model = std::move(language_model)});
}

}  // namespace

void bind_engine(nb::module_& module) {
    bind_results(module);
    bind_search(module);
    bind_stream(module);
    nb::class_<BoundEngine>(module, "Engine")
        .def(nb::init<std::shared_ptr<Model>, int, bool, int>(), nb::arg("model"), nb::arg("bits"),
             nb::arg("exact") = false, nb::arg("threads") = 1)
        .def("open", &open_stream, nb::arg("chunk"), nb::arg("keep_logits") = false, nb::arg("beam") = 1,
             nb::arg("hotwords") = nb::none(), nb::arg("language_model") = nb::none(), nb::arg("keep_encoded") = false)
        .def("step", &BoundEngine::step, nb::arg("streams"))
        .def("stage_seconds", &stage_seconds)
        .def_prop_rw(
            "times_stages", [](BoundEngine& bound) { return bound.engine().clock().enabled(); },
            [](BoundEngine& bound, bool on) { bound.engine().clock().enable(on); })
        .def_prop_ro("bits", [](BoundEngine& bound) { return bound.engine().bits(); })
        .def_prop_ro("exact", [](BoundEngine& bound) { return bound.engine().exact(); })
        .def_prop_ro("resident_bytes", [](BoundEngine& bound) { return bound.engine().resident_bytes(); });
}

}  // namespace onebit
