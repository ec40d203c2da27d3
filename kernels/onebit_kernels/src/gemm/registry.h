// The instruction sets of kernels.inc as data.
#pragma once

#include "kernels.h"

namespace onebit::gemm {

struct Isa {
    const char* name;
    bool available;  // on this machine
    const ActivationKernels& activations;
    const TableKernels& tables;
    const DotKernels& dot;
};

}  // namespace onebit::gemm
