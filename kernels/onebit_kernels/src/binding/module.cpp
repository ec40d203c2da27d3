// The Python face of the core: `onebit_kernels._core`. The stub _core.pyi states the types.
#include <nanobind/nanobind.h>

#include "bindings.h"

NB_MODULE(_core, module) {
    onebit::bind_gemm(module);
    onebit::bind_operations(module);
    onebit::bind_model(module);
    onebit::bind_engine(module);
    onebit::bind_decoder(module);
}
