// Low-bit products by themselves, for tests and benchmarks; the engine uses gemm/lowbit_gemm.h directly.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/vector.h>

#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "../engine/buffer.h"
#include "../gemm/ceilings.h"
#include "../gemm/lowbit_gemm.h"
#include "arrays.h"
#include "bindings.h"

namespace nb = nanobind;

namespace onebit {
namespace {

template <class T, int Dimensions>
using Array = nb::ndarray<const T, nb::ndim<Dimensions>, nb::c_contig, nb::device::cpu>;

using Planes = Array<std::uint8_t, 3>;
using Matrix = Array<float, 2>;
using Vector = Array<float, 1>;
using Weights = Array<std::int8_t, 2>;

void require(bool condition, const char* message) {
    if (!condition) throw std::invalid_argument(message);
}

// planes (P, N, ceil(columns / 8)) uint8, scales (3, N) float32 for 1, 2 and 4 bit, bias (N,) float32 or None
gemm::LayerPlanes layer_view(const Planes& planes, int columns, const Matrix& scales,
                             const std::optional<Vector>& bias) {
    const std::size_t rows = planes.shape(1);
    require(columns > 0 && planes.shape(2) == (static_cast<std::size_t>(columns) + 7) / 8,
            "planes do not match columns");
    require(scales.shape(0) == 3 && scales.shape(1) == rows, "scales must be (3, N)");
    require(!bias || bias->shape(0) == rows, "bias must be (N,)");
    return {.planes = planes.data(),
            .plane_count = static_cast<int>(planes.shape(0)),
            .rows = static_cast<int>(rows),
            .columns = columns,
            .scale1 = scales.data(),
            .scale2 = scales.data() + rows,
            .scale4 = scales.data() + 2 * rows,
            .bias = bias ? bias->data() : nullptr};
}

gemm::PackedMatrix pack_layers(const std::vector<nb::tuple>& tuples, int columns, const std::vector<int>& bits,
                               const std::string& isa) {
    std::vector<gemm::LayerPlanes> layers;
    for (const nb::tuple& t : tuples)
        layers.push_back(
            layer_view(nb::cast<Planes>(t[0]), columns, nb::cast<Matrix>(t[1]), nb::cast<std::optional<Vector>>(t[2])));
    return gemm::pack_planes(gemm::find_isa(isa), layers, bits);
}

gemm::PackedMatrix pack_weights(const Weights& weights, const Vector& scale, const std::optional<Vector>& bias,
                                const std::string& isa) {
    const std::size_t rows = weights.shape(0);
    require(scale.shape(0) == rows && (!bias || bias->shape(0) == rows), "scale and bias must be (N,)");
    return gemm::pack_int8(gemm::find_isa(isa),
                           {weights.data(), static_cast<int>(rows), static_cast<int>(weights.shape(1)), scale.data(),
                            bias ? bias->data() : nullptr});
}

gemm::ConstRows rows_of(const gemm::PackedMatrix& matrix, const Matrix& x, int bits) {
    require(x.shape(1) == static_cast<std::size_t>(matrix.columns), "x must be (M, columns)");
    require((bits == 1 || bits == 2 || bits == 4 || bits == 8) && matrix.holds(bits),
            "the matrix lacks this precision");
    return {x.data(), static_cast<int>(x.shape(0)), matrix.columns, matrix.columns};
}

gemm::Mode mode_of(bool exact) { return exact ? gemm::Mode::exact : gemm::Mode::fast; }

nb::object multiply(const gemm::PackedMatrix& matrix, const Matrix& x, int bits, bool exact) {
    const gemm::ConstRows rows = rows_of(matrix, x, bits);
    std::vector<float> y(static_cast<std::size_t>(rows.rows) * matrix.rows);
    Buffer<std::byte> workspace;
    workspace.ensure(gemm::linear_workspace_bytes(matrix.columns));
    gemm::linear(rows, matrix, bits, mode_of(exact), {y.data(), matrix.rows}, workspace.data());
    return matrix_array(std::move(y), matrix.rows);
}

// For benchmarks, which do not want to time Python.
void multiply_repeatedly(const gemm::PackedMatrix& matrix, const Matrix& x, int bits, bool exact, int repeats) {
    const gemm::ConstRows rows = rows_of(matrix, x, bits);
    Buffer<float> y;
    y.ensure(static_cast<std::size_t>(rows.rows) * matrix.rows);
    Buffer<std::byte> workspace;
    workspace.ensure(gemm::linear_workspace_bytes(matrix.columns));
    for (int i = 0; i < repeats; ++i)
        gemm::linear(rows, matrix, bits, mode_of(exact), {y.data(), matrix.rows}, workspace.data());
}

std::pair<std::string, double> instruction_and_speed(const gemm::Ceiling& ceiling) {
    return {ceiling.instruction, ceiling.operations_per_second};
}

}  // namespace

void bind_gemm(nb::module_& module) {
    module.def("int8_ceiling", [] { return instruction_and_speed(gemm::measure_int8_ceiling()); });
    module.def("fp32_ceiling", [] { return instruction_and_speed(gemm::measure_fp32_ceiling()); });
    nb::class_<gemm::PackedMatrix>(module, "PackedMatrix")
        .def_static("from_planes", &pack_layers, nb::arg("layers"), nb::arg("columns"), nb::arg("bits"),
                    nb::arg("isa") = "")
        .def_static("from_int8", &pack_weights, nb::arg("weights"), nb::arg("scale"), nb::arg("bias") = nb::none(),
                    nb::arg("isa") = "")
        .def_prop_ro("resident_bytes", [](const gemm::PackedMatrix& matrix) { return matrix.resident_bytes; })
        .def_prop_ro("isa", [](const gemm::PackedMatrix& matrix) { return gemm::name_of(*matrix.isa); })
        .def("multiply", &multiply, nb::arg("x"), nb::arg("bits"), nb::arg("exact") = false)
        .def("multiply_repeatedly", &multiply_repeatedly, nb::arg("x"), nb::arg("bits"), nb::arg("exact"),
             nb::arg("repeats"));
}

}  // namespace onebit
