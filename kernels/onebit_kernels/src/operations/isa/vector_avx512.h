// Sixteen float lanes: AVX-512 F, BW, VL, DQ.
#pragma once

#include <immintrin.h>

#include "../half.h"

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

ONEBIT_INLINE Floats magnitude(Floats a) { return _mm512_abs_ps(a); }

// Pairs of int16, one pair in every lane.
using Integers = __m512i;

ONEBIT_INLINE Integers zero_integers() { return _mm512_setzero_si512(); }
ONEBIT_INLINE Integers load_pairs(const std::int16_t* from) { return _mm512_loadu_si512(from); }

ONEBIT_INLINE Integers load_pairs(const std::int8_t* from) {
    return _mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
}

ONEBIT_INLINE Integers broadcast_pair(const std::int16_t* from) {
    std::int32_t pair;
    __builtin_memcpy(&pair, from, sizeof pair);
    return _mm512_set1_epi32(pair);
}

ONEBIT_INLINE Floats to_floats(Integers a) { return _mm512_cvtepi32_ps(a); }

// Rounded to nearest even; |a| < 2^15.
ONEBIT_INLINE void store_integers(std::int16_t* to, Floats a) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtepi32_epi16(_mm512_cvtps_epi32(a)));
}

ONEBIT_INLINE void store_pairs(std::int16_t* to, Floats low, Floats high) {
    const Integers lower = _mm512_and_si512(_mm512_cvtps_epi32(low), _mm512_set1_epi32(0xffff));
    _mm512_storeu_si512(to, _mm512_or_si512(lower, _mm512_slli_epi32(_mm512_cvtps_epi32(high), 16)));
}

#ifndef ONEBIT_HAS_DOT_PAIRS
// total + a[0] * b[0] + a[1] * b[1]
ONEBIT_INLINE Integers dot_pairs(Integers total, Integers a, Integers b) {
    return _mm512_add_epi32(total, _mm512_madd_epi16(a, b));
}
#endif

}  // namespace
}  // namespace onebit
