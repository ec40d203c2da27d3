#include "operations.h"

#include <stdexcept>
#include <string>

namespace onebit {

#define ISA(name, needs, activations, tables, dot, operations) extern const Operations operations_##operations;
#include "../gemm/kernels.inc"
#undef ISA

const Operations& operations_for(std::string_view isa) {
#define ISA(name, needs, activations, tables, dot, operations) \
    if (isa == #name) return operations_##operations;
#include "../gemm/kernels.inc"
#undef ISA
    throw std::invalid_argument("unknown isa '" + std::string(isa) + "'");
}

}  // namespace onebit
