// Four float lanes: ARMv8.0 Advanced SIMD.
#pragma once

#include <arm_neon.h>

#include "../half.h"

#define ONEBIT_INLINE inline __attribute__((always_inline))

namespace onebit {
namespace {

using Floats = float32x4_t;

constexpr int kLanes = 4;
constexpr int kTileRows = 8;

ONEBIT_INLINE Floats splat(float value) { return vdupq_n_f32(value); }
ONEBIT_INLINE Floats load(const float* from) { return vld1q_f32(from); }
ONEBIT_INLINE void store(float* to, Floats value) { vst1q_f32(to, value); }

ONEBIT_INLINE Floats load(const Half* from) {
    return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(reinterpret_cast<const std::uint16_t*>(from))));
}

ONEBIT_INLINE Floats maximum(Floats a, Floats b) { return vmaxq_f32(a, b); }
ONEBIT_INLINE Floats minimum(Floats a, Floats b) { return vminq_f32(a, b); }

ONEBIT_INLINE void store(Half* to, Floats value) {
    const Floats finite = minimum(maximum(value, splat(-65504.0f)), splat(65504.0f));
    vst1_u16(reinterpret_cast<std::uint16_t*>(to), vreinterpret_u16_f16(vcvt_f16_f32(finite)));
}

ONEBIT_INLINE Floats fused(Floats a, Floats b, Floats c) { return vfmaq_f32(c, a, b); }
ONEBIT_INLINE Floats square_root(Floats a) { return vsqrtq_f32(a); }
ONEBIT_INLINE float sum(Floats a) { return vaddvq_f32(a); }
ONEBIT_INLINE float largest(Floats a) { return vmaxvq_f32(a); }
ONEBIT_INLINE Floats rounded(Floats a) { return vrndnq_f32(a); }

ONEBIT_INLINE Floats power_of_two(Floats a) {
    return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(vcvtq_s32_f32(a), vdupq_n_s32(127)), 23));
}

ONEBIT_INLINE void split(Floats a, Floats& mantissa, Floats& exponent) {
    const int32x4_t bits = vreinterpretq_s32_f32(a);
    exponent = vcvtq_f32_s32(vsubq_s32(vshrq_n_s32(bits, 23), vdupq_n_s32(127)));
    const int32x4_t fraction = vandq_s32(bits, vdupq_n_s32(0x007fffff));
    mantissa = vreinterpretq_f32_s32(vorrq_s32(fraction, vdupq_n_s32(0x3f800000)));
}

ONEBIT_INLINE Floats where_greater(Floats a, Floats b, Floats x, Floats y) { return vbslq_f32(vcgtq_f32(a, b), x, y); }

}  // namespace
}  // namespace onebit
