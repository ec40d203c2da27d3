// AVX-512 in the vocabulary of the algorithms in activations.h, shuffle_tables.h and dot_products.h: registers of
// 128-bit lanes, four in each. Needs F and BW. Include in files compiled for AVX-512 only: everything has internal
// linkage.
#pragma once

#include <immintrin.h>

#include "../kernels.h"

namespace onebit::gemm {
namespace {

struct Avx512Lanes {
    using Bytes = __m512i;
    using Floats = __m512;
    static constexpr int kBytes = 64;
    static constexpr int kFloats = 16;

    // Integers
    static ONEBIT_INLINE Bytes zero() { return _mm512_setzero_si512(); }
    static ONEBIT_INLINE Bytes load(const void* p) { return _mm512_loadu_si512(p); }
    static ONEBIT_INLINE void store(void* p, Bytes v) { _mm512_storeu_si512(p, v); }
    static ONEBIT_INLINE Bytes repeat16(const std::uint8_t* p) {
        return _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    }
    static ONEBIT_INLINE Bytes repeat4(const std::int8_t* p) {
        int word;
        __builtin_memcpy(&word, p, sizeof(word));
        return _mm512_set1_epi32(word);
    }
    static ONEBIT_INLINE Bytes low_nibbles(Bytes v) { return _mm512_and_si512(v, _mm512_set1_epi8(15)); }
    static ONEBIT_INLINE Bytes high_nibbles(Bytes v) { return low_nibbles(_mm512_srli_epi16(v, 4)); }
    static ONEBIT_INLINE Bytes lookup(Bytes table, Bytes index) { return _mm512_shuffle_epi8(table, index); }
    static ONEBIT_INLINE Bytes add32(Bytes a, Bytes b) { return _mm512_add_epi32(a, b); }
    static ONEBIT_INLINE void add_to(std::int32_t* p, Bytes v) { store(p, add32(load(p), v)); }
    static ONEBIT_INLINE Bytes sub32(Bytes a, Bytes b) { return _mm512_sub_epi32(a, b); }
    static ONEBIT_INLINE Bytes set32(std::int32_t v) { return _mm512_set1_epi32(v); }
    static ONEBIT_INLINE Bytes shift_left32(Bytes v, int count) {
        return _mm512_sll_epi32(v, _mm_cvtsi32_si128(count));
    }
    static ONEBIT_INLINE std::int32_t sum32(Bytes v) { return _mm512_reduce_add_epi32(v); }

    // Floats
    static ONEBIT_INLINE Floats load_floats(const float* p) { return _mm512_loadu_ps(p); }
    static ONEBIT_INLINE void store_floats(float* p, Floats v) { _mm512_storeu_ps(p, v); }
    static ONEBIT_INLINE Floats load_int8(const std::int8_t* p) {
        return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
    }
    static ONEBIT_INLINE Floats set(float v) { return _mm512_set1_ps(v); }
    static ONEBIT_INLINE Floats add(Floats a, Floats b) { return _mm512_add_ps(a, b); }
    static ONEBIT_INLINE Floats sub(Floats a, Floats b) { return _mm512_sub_ps(a, b); }
    static ONEBIT_INLINE Floats mul(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
    static ONEBIT_INLINE Floats max(Floats a, Floats b) { return _mm512_max_ps(a, b); }
    static ONEBIT_INLINE Floats abs(Floats v) { return _mm512_abs_ps(v); }
    static ONEBIT_INLINE float largest(Floats v) { return _mm512_reduce_max_ps(v); }
    static ONEBIT_INLINE Bytes round(Floats v) { return _mm512_cvtps_epi32(v); }
    static ONEBIT_INLINE Floats to_float(Bytes v) { return _mm512_cvtepi32_ps(v); }

    // Groups of four floats: (v0 + v1, v0 - v1, v2 + v3, v2 - v3). A product with +-1 is exact, so fusing changes
    // nothing.
    static ONEBIT_INLINE Floats pair_sums(Floats v) {
        return _mm512_fmadd_ps(v, _mm512_set4_ps(-1, 1, -1, 1), _mm512_permute_ps(v, 0xb1));
    }
    // Of these sums (a, b, c, d) the table entries 0..3: (-a, b, -b, a) - c, and 4..7: (-a, b, -b, a) + d
    static ONEBIT_INLINE Floats entries_0_to_3(Floats v) {
        return _mm512_fmsub_ps(_mm512_permute_ps(v, 0x14), _mm512_set4_ps(1, -1, 1, -1), _mm512_permute_ps(v, 0xaa));
    }
    static ONEBIT_INLINE Floats entries_4_to_7(Floats v) {
        return _mm512_fmadd_ps(_mm512_permute_ps(v, 0x14), _mm512_set4_ps(1, -1, 1, -1), _mm512_permute_ps(v, 0xff));
    }
    // Of two registers: the sums of every group of four, (v0 + v1) + (v2 + v3), in any order.
    static ONEBIT_INLINE Floats group_sums(Floats a, Floats b) {
        const Floats pairs = add(_mm512_shuffle_ps(a, b, 0x88), _mm512_shuffle_ps(a, b, 0xdd));
        return add(pairs, _mm512_permute_ps(pairs, 0xb1));
    }

    // int32 to int8 with saturation; every lane: 4 of a, 4 of b, 4 of c, 4 of d
    static ONEBIT_INLINE Bytes narrow(Bytes a, Bytes b, Bytes c, Bytes d) {
        return _mm512_packs_epi16(_mm512_packs_epi32(a, b), _mm512_packs_epi32(c, d));
    }
    // int32 to int8, in order
    static ONEBIT_INLINE void store_int8(std::int8_t* p, Bytes v) {
        _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(v));
    }
    static ONEBIT_INLINE Bytes add_128(Bytes v) { return _mm512_xor_si512(v, _mm512_set1_epi8(-128)); }
    // A lane holds the entries 0..7 of two groups; the whole table of one of them: entry 15 - i mirrors entry i,
    // negated.
    static ONEBIT_INLINE Bytes table_of_first(Bytes v) {
        const __m128i order = _mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, 7, 6, 5, 4, 3, 2, 1, 0);
        return negate_high_halves(_mm512_shuffle_epi8(v, each_lane(order)));
    }
    static ONEBIT_INLINE Bytes table_of_second(Bytes v) {
        const __m128i order = _mm_setr_epi8(8, 9, 10, 11, 12, 13, 14, 15, 15, 14, 13, 12, 11, 10, 9, 8);
        return negate_high_halves(_mm512_shuffle_epi8(v, each_lane(order)));
    }
    static ONEBIT_INLINE Bytes each_lane(__m128i v) { return _mm512_broadcast_i32x4(v); }
    static ONEBIT_INLINE Bytes negate_high_halves(Bytes v) {
        return _mm512_mask_sub_epi8(v, 0xff00ff00ff00ff00, zero(), v);
    }

    // Sums of unsigned bytes by column: as 16-bit numbers the bytes are low + 256 * high. `all` adds them so, modulo
    // 2^16, `high` adds the high bytes (odd columns) alone; what remains of `all` without them are the even columns.
    struct ColumnSums {
        Bytes all, high;
    };
    static ONEBIT_INLINE void add_columns(ColumnSums& sums, Bytes v) {
        sums.all = _mm512_add_epi16(sums.all, v);
        sums.high = _mm512_add_epi16(sums.high, _mm512_srli_epi16(v, 8));
        // Or gcc adds later lookups to each other first, and runs out of registers.
        __asm__("" : "+v"(sums.all), "+v"(sums.high));
    }
    static ONEBIT_INLINE void flush_columns(const ColumnSums& sums, std::int32_t* columns) {
        const Bytes even = _mm512_sub_epi16(sums.all, _mm512_slli_epi16(sums.high, 8));
        const Bytes pairs =
            _mm512_set_epi32(0x002f000f, 0x002e000e, 0x002d000d, 0x002c000c, 0x002b000b, 0x002a000a, 0x00290009,
                             0x00280008, 0x00270007, 0x00260006, 0x00250005, 0x00240004, 0x00230003, 0x00220002,
                             0x00210001, 0x00200000);  // even 0, odd 0, even 1, odd 1, ..
        const Bytes first = _mm512_permutex2var_epi16(even, pairs, sums.high);
        const Bytes last = _mm512_permutex2var_epi16(even, add32(pairs, set32(0x00100010)), sums.high);
        add_to(columns, _mm512_cvtepu16_epi32(_mm512_castsi512_si256(first)));
        add_to(columns + 16, _mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(first, 1)));
        add_to(columns + 32, _mm512_cvtepu16_epi32(_mm512_castsi512_si256(last)));
        add_to(columns + 48, _mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(last, 1)));
    }

    // Dot products of dot_products.h. 15 * 127 * 4 and 128 * 127 * 2 fit in 16 bits.
    static ONEBIT_INLINE Bytes add_dots(Bytes sum, Bytes low, Bytes q_low, Bytes high, Bytes q_high) {
        const Bytes pairs = _mm512_add_epi16(_mm512_maddubs_epi16(low, q_low), _mm512_maddubs_epi16(high, q_high));
        return add32(sum, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
    }
    static ONEBIT_INLINE Bytes add_int8_dots(Bytes sum, Bytes w, Bytes q) {
        const Bytes signed_q = _mm512_mask_sub_epi8(q, _mm512_movepi8_mask(w), zero(), q);
        return add32(sum, _mm512_madd_epi16(_mm512_maddubs_epi16(_mm512_abs_epi8(w), signed_q), _mm512_set1_epi16(1)));
    }
};

}  // namespace
}  // namespace onebit::gemm
