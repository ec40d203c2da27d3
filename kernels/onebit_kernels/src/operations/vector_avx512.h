// Sixteen float lanes: AVX-512 F, BW, VL, DQ.
#pragma once

#include <immintrin.h>

#include "half.h"

#define ONEBIT_INLINE inline __attribute__((always_inline))

namespace onebit {
namespace {

using Floats = __m512;

constexpr int kLanes = 16;
constexpr int kTileRows = 8;

ONEBIT_INLINE Floats splat(float value) { return _mm512_set1_ps(value); }
ONEBIT_INLINE Floats load(const float* from) { return _mm512_loadu_ps(from); }
ONEBIT_INLINE void store(float* to, Floats value) { _mm512_storeu_ps(to, value); }

ONEBIT_INLINE Floats load(const Half* from) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
}

ONEBIT_INLINE Floats maximum(Floats a, Floats b) { return _mm512_max_ps(a, b); }
ONEBIT_INLINE Floats minimum(Floats a, Floats b) { return _mm512_min_ps(a, b); }

ONEBIT_INLINE void store(Half* to, Floats value) {
    const Floats finite = minimum(maximum(value, splat(-65504.0f)), splat(65504.0f));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtps_ph(finite, _MM_FROUND_TO_NEAREST_INT));
}

ONEBIT_INLINE Floats fused(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
ONEBIT_INLINE Floats square_root(Floats a) { return _mm512_sqrt_ps(a); }
ONEBIT_INLINE float sum(Floats a) { return _mm512_reduce_add_ps(a); }
ONEBIT_INLINE float largest(Floats a) { return _mm512_reduce_max_ps(a); }
ONEBIT_INLINE Floats rounded(Floats a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT); }

ONEBIT_INLINE Floats power_of_two(Floats a) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(a), _mm512_set1_epi32(127)), 23));
}

ONEBIT_INLINE void split(Floats a, Floats& mantissa, Floats& exponent) {
    exponent = _mm512_getexp_ps(a);
    mantissa = _mm512_getmant_ps(a, _MM_MANT_NORM_1_2, _MM_MANT_SIGN_src);
}

ONEBIT_INLINE Floats where_greater(Floats a, Floats b, Floats x, Floats y) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_GT_OQ), y, x);
}

}  // namespace
}  // namespace onebit
