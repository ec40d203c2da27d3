// As vector_avx512.h, with the dot product of AVX-512 VNNI.
#pragma once

#define ONEBIT_HAS_DOT_PAIRS
#include "vector_avx512.h"

namespace onebit {
namespace {

// total + a[0] * b[0] + a[1] * b[1]; in assembly, because GCC 12 spills the accumulators of the intrinsic.
ONEBIT_INLINE Integers dot_pairs(Integers total, Integers a, Integers b) {
    __asm__("vpdpwssd %2, %1, %0" : "+v"(total) : "v"(a), "v"(b));
    return total;
}

}  // namespace
}  // namespace onebit
