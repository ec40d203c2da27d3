// As vector_generic.h, with the dot product of int16 pairs that processors without AVX have, too.
#pragma once

#include <tmmintrin.h>

#include "vector_generic.h"

namespace onebit {
namespace {

ONEBIT_INLINE Floats magnitude(Floats a) { return (Floats)((Words)a & 0x7fffffffu); }

// Pairs of int16, one pair in every lane.
ONEBIT_INLINE Integers zero_integers() { return Integers{}; }

ONEBIT_INLINE Integers load_pairs(const std::int16_t* from) {
    Integers pairs;
    __builtin_memcpy(&pairs, from, sizeof pairs);
    return pairs;
}

ONEBIT_INLINE Integers load_pairs(const std::int8_t* from) {
    const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(from));
    return (Integers)_mm_srai_epi16(_mm_unpacklo_epi8(bytes, bytes), 8);
}

ONEBIT_INLINE Integers broadcast_pair(const std::int16_t* from) {
    std::int32_t pair;
    __builtin_memcpy(&pair, from, sizeof pair);
    return (Integers)_mm_set1_epi32(pair);
}

ONEBIT_INLINE Floats to_floats(Integers a) { return (Floats)_mm_cvtepi32_ps((__m128i)a); }

// Rounded to nearest even; |a| < 2^15.
ONEBIT_INLINE void store_integers(std::int16_t* to, Floats a) {
    const __m128i whole = _mm_cvtps_epi32((__m128)a);
    _mm_storel_epi64(reinterpret_cast<__m128i*>(to), _mm_packs_epi32(whole, whole));
}

ONEBIT_INLINE void store_pairs(std::int16_t* to, Floats low, Floats high) {
    const __m128i lower = _mm_and_si128(_mm_cvtps_epi32((__m128)low), _mm_set1_epi32(0xffff));
    const __m128i upper = _mm_slli_epi32(_mm_cvtps_epi32((__m128)high), 16);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm_or_si128(lower, upper));
}

// total + a[0] * b[0] + a[1] * b[1]
ONEBIT_INLINE Integers dot_pairs(Integers total, Integers a, Integers b) {
    return (Integers)_mm_add_epi32((__m128i)total, _mm_madd_epi16((__m128i)a, (__m128i)b));
}

}  // namespace
}  // namespace onebit
