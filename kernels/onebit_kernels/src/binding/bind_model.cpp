#include <nanobind/ndarray.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "../model/model.h"
#include "bindings.h"

namespace nb = nanobind;

namespace onebit {
namespace {

using AnyArray = nb::ndarray<nb::ro, nb::device::cpu, nb::c_contig>;

Element element_of(nb::dlpack::dtype dtype) {
    const auto code = static_cast<nb::dlpack::dtype_code>(dtype.code);
    if (dtype.lanes != 1) return Element::other;
    if (code == nb::dlpack::dtype_code::UInt && dtype.bits == 8) return Element::uint8;
    if (code == nb::dlpack::dtype_code::Int && dtype.bits == 8) return Element::int8;
    if (code == nb::dlpack::dtype_code::Float && dtype.bits == 16) return Element::float16;
    return Element::other;
}

// The views in `tensors` live as long as the arrays in `held`.
Tensors tensors_from(const nb::dict& arrays, std::vector<AnyArray>& held) {
    Tensors tensors;
    for (const auto& [key, value] : arrays) {
        AnyArray array;
        const std::string name = nb::cast<std::string>(key);
        if (!nb::try_cast(value, array)) throw nb::type_error(("the tensor " + name + " is not a numpy array").c_str());
        Tensor tensor{element_of(array.dtype()), {}, array.data()};
        for (std::size_t i = 0; i < array.ndim(); ++i)
            tensor.shape.push_back(static_cast<std::int64_t>(array.shape(i)));
        tensors.emplace(name, std::move(tensor));
        held.push_back(std::move(array));
    }
    return tensors;
}

void make_model(Model* self, const std::map<std::string, int>& config, const nb::dict& tensors,
                const std::vector<int>& bits, const std::optional<std::string>& isa,
                const std::optional<Allocation>& planes) {
    std::vector<AnyArray> held;
    const Tensors views = tensors_from(tensors, held);
    new (self) Model(config_from(config), views, bits, isa.value_or(""), planes.value_or(Allocation{}));
}

}  // namespace

void bind_model(nb::module_& module) {
    nb::class_<Model>(module, "Model")
        .def("__init__", &make_model, nb::arg("config"), nb::arg("tensors"), nb::arg("bits"),
             nb::arg("isa") = nb::none(), nb::arg("planes") = nb::none())
        .def_prop_ro("has_decoder", [](const Model& model) { return model.config.has_decoder(); })
        .def_prop_ro("resident_bytes", [](const Model& model) { return model.resident_bytes; })
        .def_prop_ro("isa", [](const Model& model) { return std::string(gemm::name_of(*model.isa)); })
        .def_prop_ro("bits", [](const Model& model) { return nb::tuple(nb::cast(model.bits)); });
}

}  // namespace onebit
