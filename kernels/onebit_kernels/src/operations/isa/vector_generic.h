// Four float lanes through the compiler's vector extension: any CPU, and the readable twin of the other vectors.
//
// Every vector_<isa>.h defines the same names: Floats, kLanes, kTileRows and the functions below.
#pragma once

#include <cstdint>

#include "../half.h"

#define ONEBIT_INLINE inline __attribute__((always_inline))

namespace onebit {
namespace {

typedef float Floats __attribute__((vector_size(16)));
typedef std::uint32_t Words __attribute__((vector_size(16)));
typedef std::int32_t Integers __attribute__((vector_size(16)));
typedef std::uint16_t HalfWords __attribute__((vector_size(8)));

constexpr int kLanes = 4;
constexpr int kTileRows = 4;

ONEBIT_INLINE Floats splat(float value) { return Floats{value, value, value, value}; }

ONEBIT_INLINE Floats load(const float* from) {
    Floats value;
    __builtin_memcpy(&value, from, sizeof value);
    return value;
}

ONEBIT_INLINE void store(float* to, Floats value) { __builtin_memcpy(to, &value, sizeof value); }

ONEBIT_INLINE Floats load(const Half* from) {
    HalfWords halves;
    __builtin_memcpy(&halves, from, sizeof halves);
    const Words words = __builtin_convertvector(halves, Words);
    const Floats magnitude = (Floats)((words & 0x7fffu) << 13) * splat(0x1p112f);
    return (Floats)((Words)magnitude | (words & 0x8000u) << 16);
}

ONEBIT_INLINE Floats maximum(Floats a, Floats b) { return a > b ? a : b; }
ONEBIT_INLINE Floats minimum(Floats a, Floats b) { return a < b ? a : b; }

// To the nearest half, ties to even, saturating at the largest finite one: add half a unit of the last kept bit,
// and one more if that bit is odd.
ONEBIT_INLINE void store(Half* to, Floats value) {
    const Words sign = ((Words)value >> 16) & 0x8000u;
    const Floats magnitude = minimum((Floats)((Words)value & 0x7fffffffu), splat(65504.0f));
    const Words scaled = (Words)(magnitude * splat(0x1p-112f));
    const Words rounded = (scaled + 0xfffu + ((scaled >> 13) & 1u)) >> 13;
    const HalfWords halves = __builtin_convertvector(rounded | sign, HalfWords);
    __builtin_memcpy(to, &halves, sizeof halves);
}

// a * b + c; the other vectors round once, this one twice.
ONEBIT_INLINE Floats fused(Floats a, Floats b, Floats c) { return a * b + c; }

ONEBIT_INLINE Floats square_root(Floats a) {
    return Floats{__builtin_sqrtf(a[0]), __builtin_sqrtf(a[1]), __builtin_sqrtf(a[2]), __builtin_sqrtf(a[3])};
}

ONEBIT_INLINE float sum(Floats a) { return (a[0] + a[2]) + (a[1] + a[3]); }

ONEBIT_INLINE float largest(Floats a) {
    const float even = a[0] > a[2] ? a[0] : a[2];
    const float odd = a[1] > a[3] ? a[1] : a[3];
    return even > odd ? even : odd;
}

// To the nearest whole number, ties to even, for |a| < 2^22: there is no fraction left beside 1.5 * 2^23.
ONEBIT_INLINE Floats rounded(Floats a) { return (a + splat(0x1.8p23f)) - splat(0x1.8p23f); }

// 2^a for whole a in [-126, 127].
ONEBIT_INLINE Floats power_of_two(Floats a) { return (Floats)((__builtin_convertvector(a, Integers) + 127) << 23); }

// a = mantissa * 2^exponent with mantissa in [1, 2), for normal a > 0.
ONEBIT_INLINE void split(Floats a, Floats& mantissa, Floats& exponent) {
    const Integers bits = (Integers)a;
    exponent = __builtin_convertvector((bits >> 23) - 127, Floats);
    mantissa = (Floats)((bits & 0x007fffff) | 0x3f800000);
}

// Lane-wise a > b ? x : y.
ONEBIT_INLINE Floats where_greater(Floats a, Floats b, Floats x, Floats y) { return a > b ? x : y; }

}  // namespace
}  // namespace onebit
