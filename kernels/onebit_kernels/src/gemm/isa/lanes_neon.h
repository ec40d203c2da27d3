// NEON (AArch64) in the vocabulary of the algorithms in activations.h, shuffle_tables.h and dot_products.h: registers
// of one 128-bit lane. Include in files compiled for NEON only: everything has internal linkage.
#pragma once

#include <arm_neon.h>

#include "../kernels.h"

namespace onebit::gemm {
namespace {

struct NeonLanes {
    using Bytes = int8x16_t;
    using Floats = float32x4_t;
    static constexpr int kBytes = 16;
    static constexpr int kFloats = 4;

    static ONEBIT_INLINE int32x4_t words(Bytes v) { return vreinterpretq_s32_s8(v); }
    static ONEBIT_INLINE Bytes bytes(int32x4_t v) { return vreinterpretq_s8_s32(v); }

    // Integers
    static ONEBIT_INLINE Bytes zero() { return vdupq_n_s8(0); }
    static ONEBIT_INLINE Bytes load(const void* p) { return vld1q_s8(static_cast<const std::int8_t*>(p)); }
    static ONEBIT_INLINE void store(void* p, Bytes v) { vst1q_s8(static_cast<std::int8_t*>(p), v); }
    static ONEBIT_INLINE Bytes repeat16(const std::uint8_t* p) { return load(p); }
    static ONEBIT_INLINE Bytes repeat4(const std::int8_t* p) {
        std::int32_t word;
        __builtin_memcpy(&word, p, sizeof(word));
        return bytes(vdupq_n_s32(word));
    }
    static ONEBIT_INLINE Bytes low_nibbles(Bytes v) { return vandq_s8(v, vdupq_n_s8(15)); }
    static ONEBIT_INLINE Bytes high_nibbles(Bytes v) {
        return vreinterpretq_s8_u8(vshrq_n_u8(vreinterpretq_u8_s8(v), 4));
    }
    static ONEBIT_INLINE Bytes lookup(Bytes table, Bytes index) {
        return vqtbl1q_s8(table, vreinterpretq_u8_s8(index));
    }
    static ONEBIT_INLINE Bytes add32(Bytes a, Bytes b) { return bytes(vaddq_s32(words(a), words(b))); }
    static ONEBIT_INLINE void add_to(std::int32_t* p, Bytes v) { store(p, add32(load(p), v)); }
    static ONEBIT_INLINE Bytes sub32(Bytes a, Bytes b) { return bytes(vsubq_s32(words(a), words(b))); }
    static ONEBIT_INLINE Bytes set32(std::int32_t v) { return bytes(vdupq_n_s32(v)); }
    static ONEBIT_INLINE Bytes shift_left32(Bytes v, int count) {
        return bytes(vshlq_s32(words(v), vdupq_n_s32(count)));
    }
    static ONEBIT_INLINE std::int32_t sum32(Bytes v) { return vaddvq_s32(words(v)); }

    // Floats
    static ONEBIT_INLINE Floats load_floats(const float* p) { return vld1q_f32(p); }
    static ONEBIT_INLINE void store_floats(float* p, Floats v) { vst1q_f32(p, v); }
    static ONEBIT_INLINE Floats load_int8(const std::int8_t* p) {
        const int16x8_t halves = vmovl_s8(vget_low_s8(repeat4(p)));
        return vcvtq_f32_s32(vmovl_s16(vget_low_s16(halves)));
    }
    static ONEBIT_INLINE Floats set(float v) { return vdupq_n_f32(v); }
    static ONEBIT_INLINE Floats add(Floats a, Floats b) { return vaddq_f32(a, b); }
    static ONEBIT_INLINE Floats sub(Floats a, Floats b) { return vsubq_f32(a, b); }
    static ONEBIT_INLINE Floats mul(Floats a, Floats b) { return vmulq_f32(a, b); }
    static ONEBIT_INLINE Floats max(Floats a, Floats b) { return vmaxq_f32(a, b); }
    static ONEBIT_INLINE Floats abs(Floats v) { return vabsq_f32(v); }
    static ONEBIT_INLINE float largest(Floats v) { return vmaxvq_f32(v); }
    static ONEBIT_INLINE Bytes round(Floats v) { return bytes(vcvtnq_s32_f32(v)); }
    static ONEBIT_INLINE Floats to_float(Bytes v) { return vcvtq_f32_s32(words(v)); }

    // A group of four floats: (v0 + v1, v0 - v1, v2 + v3, v2 - v3)
    static ONEBIT_INLINE Floats pair_sums(Floats v) {
        const Floats swapped = vrev64q_f32(v);
        return vtrn1q_f32(vaddq_f32(v, swapped), vsubq_f32(v, swapped));
    }
    // Of these sums (a, b, c, d) the table entries 0..3: (-a, b, -b, a) - c, and 4..7: (-a, b, -b, a) + d
    static ONEBIT_INLINE Floats signed_pairs(Floats v) {
        const float32x2_t low = vget_low_f32(v), swapped = vrev64_f32(low);
        return vcombine_f32(vtrn1_f32(vneg_f32(low), swapped), vtrn1_f32(vneg_f32(swapped), low));
    }
    static ONEBIT_INLINE Floats entries_0_to_3(Floats v) { return sub(signed_pairs(v), vdupq_laneq_f32(v, 2)); }
    static ONEBIT_INLINE Floats entries_4_to_7(Floats v) { return add(signed_pairs(v), vdupq_laneq_f32(v, 3)); }
    // Of two registers: the sums of every group of four, (v0 + v1) + (v2 + v3), in any order.
    static ONEBIT_INLINE Floats group_sums(Floats a, Floats b) {
        const Floats pairs = vpaddq_f32(a, b);
        return vpaddq_f32(pairs, pairs);
    }

    // int32 to int8 with saturation: 4 of a, 4 of b, 4 of c, 4 of d
    static ONEBIT_INLINE Bytes narrow(Bytes a, Bytes b, Bytes c, Bytes d) {
        const int16x8_t low = vcombine_s16(vqmovn_s32(words(a)), vqmovn_s32(words(b)));
        const int16x8_t high = vcombine_s16(vqmovn_s32(words(c)), vqmovn_s32(words(d)));
        return vcombine_s8(vqmovn_s16(low), vqmovn_s16(high));
    }
    static ONEBIT_INLINE void store_int8(std::int8_t* p, Bytes v) {
        const std::int32_t word = vgetq_lane_s32(words(narrow(v, v, v, v)), 0);
        __builtin_memcpy(p, &word, sizeof(word));
    }
    static ONEBIT_INLINE Bytes add_128(Bytes v) { return veorq_s8(v, vdupq_n_s8(-128)); }
    // A lane holds the entries 0..7 of two groups; the whole table of one of them: entry 15 - i mirrors entry i,
    // negated.
    static ONEBIT_INLINE Bytes table_of_first(Bytes v) {
        return vcombine_s8(vget_low_s8(v), vrev64_s8(vneg_s8(vget_low_s8(v))));
    }
    static ONEBIT_INLINE Bytes table_of_second(Bytes v) {
        return vcombine_s8(vget_high_s8(v), vrev64_s8(vneg_s8(vget_high_s8(v))));
    }

    // Sums of unsigned bytes by column, 16 bits wide: the first eight columns and the last eight.
    struct ColumnSums {
        Bytes low, high;
    };
    static ONEBIT_INLINE void add_columns(ColumnSums& sums, Bytes v) {
        const uint8x16_t unsigned_v = vreinterpretq_u8_s8(v);
        sums.low = vreinterpretq_s8_u16(vaddw_u8(vreinterpretq_u16_s8(sums.low), vget_low_u8(unsigned_v)));
        sums.high = vreinterpretq_s8_u16(vaddw_high_u8(vreinterpretq_u16_s8(sums.high), unsigned_v));
    }
    static ONEBIT_INLINE void flush_columns(const ColumnSums& sums, std::int32_t* columns) {
        const uint16x8_t low = vreinterpretq_u16_s8(sums.low), high = vreinterpretq_u16_s8(sums.high);
        add_to(columns, vreinterpretq_s8_u32(vmovl_u16(vget_low_u16(low))));
        add_to(columns + 4, vreinterpretq_s8_u32(vmovl_high_u16(low)));
        add_to(columns + 8, vreinterpretq_s8_u32(vmovl_u16(vget_low_u16(high))));
        add_to(columns + 12, vreinterpretq_s8_u32(vmovl_high_u16(high)));
    }

    // Dot products of dot_products.h. 15 * 127 * 4 and 128 * 127 * 2 fit in 16 bits.
    static ONEBIT_INLINE Bytes add_dots(Bytes sum, Bytes low, Bytes q_low, Bytes high, Bytes q_high) {
        const int16x8_t first =
            vmlal_s8(vmull_s8(vget_low_s8(low), vget_low_s8(q_low)), vget_low_s8(high), vget_low_s8(q_high));
        const int16x8_t second = vmlal_high_s8(vmull_high_s8(low, q_low), high, q_high);
        return bytes(vpadalq_s16(words(sum), vpaddq_s16(first, second)));
    }
    static ONEBIT_INLINE Bytes add_int8_dots(Bytes sum, Bytes w, Bytes q) {
        const int16x8_t first = vmull_s8(vget_low_s8(w), vget_low_s8(q)), second = vmull_high_s8(w, q);
        return bytes(vpadalq_s16(words(sum), vpaddq_s16(first, second)));
    }
};

}  // namespace
}  // namespace onebit::gemm
