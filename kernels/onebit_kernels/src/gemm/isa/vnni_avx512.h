// The dot-product instruction on 512-bit registers.
#pragma once

#include <immintrin.h>

#include "../kernels.h"

namespace onebit::gemm {
namespace {

// sum[i] += u[4i] s[4i] + .. + u[4i+3] s[4i+3], u unsigned. In assembly because gcc 12, given the intrinsic, copies the
// sums between registers and spills them.
ONEBIT_INLINE __m512i dot_u8_s8(__m512i sum, __m512i u, __m512i s) {
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(u), "v"(s));
    return sum;
}

}  // namespace
}  // namespace onebit::gemm
