// SSSE3 in the vocabulary of the algorithms in activations.h, shuffle_tables.h and dot_products.h: registers of one
// 128-bit lane. Include in files compiled for SSSE3 only: everything has internal linkage.
#pragma once

#include <tmmintrin.h>

#include "../kernels.h"

namespace onebit::gemm {
namespace {

struct Ssse3Lanes {
    using Bytes = __m128i;
    using Floats = __m128;
    static constexpr int kBytes = 16;
    static constexpr int kFloats = 4;

    // Integers
    static ONEBIT_INLINE Bytes zero() { return _mm_setzero_si128(); }
    static ONEBIT_INLINE Bytes load(const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }
    static ONEBIT_INLINE void store(void* p, Bytes v) { _mm_storeu_si128(static_cast<__m128i*>(p), v); }
    static ONEBIT_INLINE Bytes repeat16(const std::uint8_t* p) { return load(p); }
    static ONEBIT_INLINE Bytes repeat4(const std::int8_t* p) {
        int word;
        __builtin_memcpy(&word, p, sizeof(word));
        return _mm_set1_epi32(word);
    }
    static ONEBIT_INLINE Bytes low_nibbles(Bytes v) { return _mm_and_si128(v, _mm_set1_epi8(15)); }
    static ONEBIT_INLINE Bytes high_nibbles(Bytes v) { return low_nibbles(_mm_srli_epi16(v, 4)); }
    static ONEBIT_INLINE Bytes lookup(Bytes table, Bytes index) { return _mm_shuffle_epi8(table, index); }
    static ONEBIT_INLINE Bytes add32(Bytes a, Bytes b) { return _mm_add_epi32(a, b); }
    static ONEBIT_INLINE void add_to(std::int32_t* p, Bytes v) { store(p, add32(load(p), v)); }
    static ONEBIT_INLINE Bytes sub32(Bytes a, Bytes b) { return _mm_sub_epi32(a, b); }
    static ONEBIT_INLINE Bytes set32(std::int32_t v) { return _mm_set1_epi32(v); }
    static ONEBIT_INLINE Bytes shift_left32(Bytes v, int count) { return _mm_sll_epi32(v, _mm_cvtsi32_si128(count)); }
    static ONEBIT_INLINE std::int32_t sum32(Bytes v) {
        v = _mm_add_epi32(v, _mm_shuffle_epi32(v, 0x4e));
        return _mm_cvtsi128_si32(_mm_add_epi32(v, _mm_shuffle_epi32(v, 0xb1)));
    }

    // Floats
    static ONEBIT_INLINE Floats load_floats(const float* p) { return _mm_loadu_ps(p); }
    static ONEBIT_INLINE void store_floats(float* p, Floats v) { _mm_storeu_ps(p, v); }
    // Each byte goes to the top of a word, and down again with its sign.
    static ONEBIT_INLINE Floats load_int8(const std::int8_t* p) {
        const Bytes bytes = repeat4(p), words = _mm_unpacklo_epi8(bytes, bytes);
        return _mm_cvtepi32_ps(_mm_srai_epi32(_mm_unpacklo_epi16(words, words), 24));
    }
    static ONEBIT_INLINE Floats set(float v) { return _mm_set1_ps(v); }
    static ONEBIT_INLINE Floats add(Floats a, Floats b) { return _mm_add_ps(a, b); }
    static ONEBIT_INLINE Floats sub(Floats a, Floats b) { return _mm_sub_ps(a, b); }
    static ONEBIT_INLINE Floats mul(Floats a, Floats b) { return _mm_mul_ps(a, b); }
    static ONEBIT_INLINE Floats max(Floats a, Floats b) { return _mm_max_ps(a, b); }
    static ONEBIT_INLINE Floats abs(Floats v) { return _mm_andnot_ps(_mm_set1_ps(-0.0f), v); }
    static ONEBIT_INLINE float largest(Floats v) {
        v = _mm_max_ps(v, _mm_shuffle_ps(v, v, 0x4e));
        return _mm_cvtss_f32(_mm_max_ps(v, _mm_shuffle_ps(v, v, 0xb1)));
    }
    static ONEBIT_INLINE Bytes round(Floats v) { return _mm_cvtps_epi32(v); }
    static ONEBIT_INLINE Floats to_float(Bytes v) { return _mm_cvtepi32_ps(v); }

    // A group of four floats: (v0 + v1, v0 - v1, v2 + v3, v2 - v3)
    static ONEBIT_INLINE Floats pair_sums(Floats v) {
        return add(_mm_xor_ps(v, _mm_setr_ps(0.0f, -0.0f, 0.0f, -0.0f)), _mm_shuffle_ps(v, v, 0xb1));
    }
    // Of these sums (a, b, c, d) the table entries 0..3: (-a, b, -b, a) - c, and 4..7: (-a, b, -b, a) + d
    static ONEBIT_INLINE Floats signed_pairs(Floats v) {
        return _mm_xor_ps(_mm_shuffle_ps(v, v, 0x14), _mm_setr_ps(-0.0f, 0.0f, -0.0f, 0.0f));
    }
    static ONEBIT_INLINE Floats entries_0_to_3(Floats v) { return sub(signed_pairs(v), _mm_shuffle_ps(v, v, 0xaa)); }
    static ONEBIT_INLINE Floats entries_4_to_7(Floats v) { return add(signed_pairs(v), _mm_shuffle_ps(v, v, 0xff)); }
    // Of two registers: the sums of every group of four, (v0 + v1) + (v2 + v3), in any order.
    static ONEBIT_INLINE Floats group_sums(Floats a, Floats b) {
        const Floats pairs = add(_mm_shuffle_ps(a, b, 0x88), _mm_shuffle_ps(a, b, 0xdd));
        return add(pairs, _mm_shuffle_ps(pairs, pairs, 0xb1));
    }

    // int32 to int8 with saturation: 4 of a, 4 of b, 4 of c, 4 of d
    static ONEBIT_INLINE Bytes narrow(Bytes a, Bytes b, Bytes c, Bytes d) {
        return _mm_packs_epi16(_mm_packs_epi32(a, b), _mm_packs_epi32(c, d));
    }
    static ONEBIT_INLINE void store_int8(std::int8_t* p, Bytes v) {
        const int word = _mm_cvtsi128_si32(narrow(v, v, v, v));
        __builtin_memcpy(p, &word, sizeof(word));
    }
    static ONEBIT_INLINE Bytes add_128(Bytes v) { return _mm_xor_si128(v, _mm_set1_epi8(-128)); }
    // A lane holds the entries 0..7 of two groups; the whole table of one of them: entry 15 - i mirrors entry i,
    // negated.
    static ONEBIT_INLINE Bytes table_of_first(Bytes v) {
        const __m128i order = _mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, 7, 6, 5, 4, 3, 2, 1, 0);
        return negate_high_halves(_mm_shuffle_epi8(v, order));
    }
    static ONEBIT_INLINE Bytes table_of_second(Bytes v) {
        const __m128i order = _mm_setr_epi8(8, 9, 10, 11, 12, 13, 14, 15, 15, 14, 13, 12, 11, 10, 9, 8);
        return negate_high_halves(_mm_shuffle_epi8(v, order));
    }
    static ONEBIT_INLINE Bytes negate_high_halves(Bytes v) {
        const __m128i signs = _mm_setr_epi8(1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1, -1);
        return _mm_sign_epi8(v, signs);
    }

    // Sums of unsigned bytes by column: as 16-bit numbers the bytes are low + 256 * high. `all` adds them so, modulo
    // 2^16, `high` adds the high bytes (odd columns) alone; what remains of `all` without them are the even columns.
    struct ColumnSums {
        Bytes all, high;
    };
    static ONEBIT_INLINE void add_columns(ColumnSums& sums, Bytes v) {
        sums.all = _mm_add_epi16(sums.all, v);
        sums.high = _mm_add_epi16(sums.high, _mm_srli_epi16(v, 8));
        // Or gcc adds later lookups to each other first, and runs out of registers.
        __asm__("" : "+x"(sums.all), "+x"(sums.high));
    }
    static ONEBIT_INLINE void flush_columns(const ColumnSums& sums, std::int32_t* columns) {
        const Bytes even = _mm_sub_epi16(sums.all, _mm_slli_epi16(sums.high, 8));
        const Bytes low = _mm_unpacklo_epi16(even, sums.high), high = _mm_unpackhi_epi16(even, sums.high);
        add_to(columns, _mm_unpacklo_epi16(low, zero()));
        add_to(columns + 4, _mm_unpackhi_epi16(low, zero()));
        add_to(columns + 8, _mm_unpacklo_epi16(high, zero()));
        add_to(columns + 12, _mm_unpackhi_epi16(high, zero()));
    }

    // Dot products of dot_products.h. 15 * 127 * 4 and 128 * 127 * 2 fit in 16 bits.
    static ONEBIT_INLINE Bytes add_dots(Bytes sum, Bytes low, Bytes q_low, Bytes high, Bytes q_high) {
        const Bytes pairs = _mm_add_epi16(_mm_maddubs_epi16(low, q_low), _mm_maddubs_epi16(high, q_high));
        return add32(sum, _mm_madd_epi16(pairs, _mm_set1_epi16(1)));
    }
    static ONEBIT_INLINE Bytes add_int8_dots(Bytes sum, Bytes w, Bytes q) {
        const Bytes pairs = _mm_maddubs_epi16(_mm_abs_epi8(w), _mm_sign_epi8(q, w));
        return add32(sum, _mm_madd_epi16(pairs, _mm_set1_epi16(1)));
    }
};

}  // namespace
}  // namespace onebit::gemm
