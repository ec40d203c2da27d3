#pragma once

#include <nanobind/nanobind.h>

namespace onebit {

void bind_gemm(nanobind::module_& module);
void bind_operations(nanobind::module_& module);
void bind_model(nanobind::module_& module);
void bind_engine(nanobind::module_& module);
void bind_decoder(nanobind::module_& module);

}  // namespace onebit
