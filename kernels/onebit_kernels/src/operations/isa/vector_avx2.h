// Eight float lanes: AVX2, FMA, F16C.
#pragma once

#include <immintrin.h>

#include "../half.h"

#define ONEBIT_INLINE inline __attribute__((always_inline))

namespace onebit {
namespace {

using Floats = __m256;

constexpr int kLanes = 8;
constexpr int kTileRows = 4;

ONEBIT_INLINE Floats splat(float value) { return _mm256_set1_ps(value); }
ONEBIT_INLINE Floats load(const float* from) { return _mm256_loadu_ps(from); }
ONEBIT_INLINE void store(float* to, Floats value) { _mm256_storeu_ps(to, value); }

ONEBIT_INLINE Floats load(const Half* from) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
}

ONEBIT_INLINE Floats maximum(Floats a, Floats b) { return _mm256_max_ps(a, b); }
ONEBIT_INLINE Floats minimum(Floats a, Floats b) { return _mm256_min_ps(a, b); }

ONEBIT_INLINE void store(Half* to, Floats value) {
    const Floats finite = minimum(maximum(value, splat(-65504.0f)), splat(65504.0f));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm256_cvtps_ph(finite, _MM_FROUND_TO_NEAREST_INT));
}

ONEBIT_INLINE Floats fused(Floats a, Floats b, Floats c) { return _mm256_fmadd_ps(a, b, c); }
ONEBIT_INLINE Floats square_root(Floats a) { return _mm256_sqrt_ps(a); }

ONEBIT_INLINE float sum(Floats a) {
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

ONEBIT_INLINE float largest(Floats a) {
    const __m128 four = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

ONEBIT_INLINE Floats rounded(Floats a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }

ONEBIT_INLINE Floats power_of_two(Floats a) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(a), _mm256_set1_epi32(127)), 23));
}

ONEBIT_INLINE void split(Floats a, Floats& mantissa, Floats& exponent) {
    const __m256i bits = _mm256_castps_si256(a);
    exponent = _mm256_cvtepi32_ps(_mm256_sub_epi32(_mm256_srli_epi32(bits, 23), _mm256_set1_epi32(127)));
    const __m256i fraction = _mm256_and_si256(bits, _mm256_set1_epi32(0x007fffff));
    mantissa = _mm256_castsi256_ps(_mm256_or_si256(fraction, _mm256_set1_epi32(0x3f800000)));
}

ONEBIT_INLINE Floats where_greater(Floats a, Floats b, Floats x, Floats y) {
    return _mm256_blendv_ps(y, x, _mm256_cmp_ps(a, b, _CMP_GT_OQ));
}

ONEBIT_INLINE Floats magnitude(Floats a) { return _mm256_andnot_ps(splat(-0.0f), a); }

// Pairs of int16, one pair in every lane.
using Integers = __m256i;

ONEBIT_INLINE Integers zero_integers() { return _mm256_setzero_si256(); }

ONEBIT_INLINE Integers load_pairs(const std::int16_t* from) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
}

ONEBIT_INLINE Integers load_pairs(const std::int8_t* from) {
    return _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
}

ONEBIT_INLINE Integers broadcast_pair(const std::int16_t* from) {
    std::int32_t pair;
    __builtin_memcpy(&pair, from, sizeof pair);
    return _mm256_set1_epi32(pair);
}

ONEBIT_INLINE Floats to_floats(Integers a) { return _mm256_cvtepi32_ps(a); }

// Rounded to nearest even; |a| < 2^15.
ONEBIT_INLINE void store_integers(std::int16_t* to, Floats a) {
    const Integers rounded_a = _mm256_cvtps_epi32(a);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to),
                     _mm_packs_epi32(_mm256_castsi256_si128(rounded_a), _mm256_extracti128_si256(rounded_a, 1)));
}

ONEBIT_INLINE void store_pairs(std::int16_t* to, Floats low, Floats high) {
    const Integers lower = _mm256_and_si256(_mm256_cvtps_epi32(low), _mm256_set1_epi32(0xffff));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to),
                        _mm256_or_si256(lower, _mm256_slli_epi32(_mm256_cvtps_epi32(high), 16)));
}

// total + a[0] * b[0] + a[1] * b[1]
ONEBIT_INLINE Integers dot_pairs(Integers total, Integers a, Integers b) {
    return _mm256_add_epi32(total, _mm256_madd_epi16(a, b));
}

}  // namespace
}  // namespace onebit
