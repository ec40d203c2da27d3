// AVX2 in the vocabulary of the algorithms in activations.h, shuffle_tables.h and dot_products.h: registers of two
// 128-bit lanes. Include in files compiled for AVX2 only: everything has internal linkage.
#pragma once

#include <immintrin.h>

#include "../kernels.h"

namespace onebit::gemm {
namespace {

struct Avx2Lanes {
    using Bytes = __m256i;
    using Floats = __m256;
    static constexpr int kBytes = 32;
    static constexpr int kFloats = 8;

    // Integers
    static ONEBIT_INLINE Bytes zero() { return _mm256_setzero_si256(); }
    static ONEBIT_INLINE Bytes load(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
    static ONEBIT_INLINE void store(void* p, Bytes v) { _mm256_storeu_si256(static_cast<__m256i*>(p), v); }
    static ONEBIT_INLINE Bytes repeat16(const std::uint8_t* p) {
        return _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    }
    static ONEBIT_INLINE Bytes repeat4(const std::int8_t* p) {
        int word;
        __builtin_memcpy(&word, p, sizeof(word));
        return _mm256_set1_epi32(word);
    }
    static ONEBIT_INLINE Bytes low_nibbles(Bytes v) { return _mm256_and_si256(v, _mm256_set1_epi8(15)); }
    static ONEBIT_INLINE Bytes high_nibbles(Bytes v) { return low_nibbles(_mm256_srli_epi16(v, 4)); }
    static ONEBIT_INLINE Bytes lookup(Bytes table, Bytes index) { return _mm256_shuffle_epi8(table, index); }
    static ONEBIT_INLINE Bytes add32(Bytes a, Bytes b) { return _mm256_add_epi32(a, b); }
    static ONEBIT_INLINE void add_to(std::int32_t* p, Bytes v) { store(p, add32(load(p), v)); }
    static ONEBIT_INLINE Bytes sub32(Bytes a, Bytes b) { return _mm256_sub_epi32(a, b); }
    static ONEBIT_INLINE Bytes set32(std::int32_t v) { return _mm256_set1_epi32(v); }
    static ONEBIT_INLINE Bytes shift_left32(Bytes v, int count) {
        return _mm256_sll_epi32(v, _mm_cvtsi32_si128(count));
    }
    static ONEBIT_INLINE std::int32_t sum32(Bytes v) {
        __m128i half = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
        half = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0x4e));
        return _mm_cvtsi128_si32(_mm_add_epi32(half, _mm_shuffle_epi32(half, 0xb1)));
    }

    // Floats
    static ONEBIT_INLINE Floats load_floats(const float* p) { return _mm256_loadu_ps(p); }
    static ONEBIT_INLINE void store_floats(float* p, Floats v) { _mm256_storeu_ps(p, v); }
    static ONEBIT_INLINE Floats load_int8(const std::int8_t* p) {
        return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
    }
    static ONEBIT_INLINE Floats set(float v) { return _mm256_set1_ps(v); }
    static ONEBIT_INLINE Floats add(Floats a, Floats b) { return _mm256_add_ps(a, b); }
    static ONEBIT_INLINE Floats sub(Floats a, Floats b) { return _mm256_sub_ps(a, b); }
    static ONEBIT_INLINE Floats mul(Floats a, Floats b) { return _mm256_mul_ps(a, b); }
    static ONEBIT_INLINE Floats max(Floats a, Floats b) { return _mm256_max_ps(a, b); }
    static ONEBIT_INLINE Floats abs(Floats v) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), v); }
    static ONEBIT_INLINE float largest(Floats v) {
        __m128 half = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
        half = _mm_max_ps(half, _mm_permute_ps(half, 0x4e));
        return _mm_cvtss_f32(_mm_max_ps(half, _mm_permute_ps(half, 0xb1)));
    }
    static ONEBIT_INLINE Bytes round(Floats v) { return _mm256_cvtps_epi32(v); }
    static ONEBIT_INLINE Floats to_float(Bytes v) { return _mm256_cvtepi32_ps(v); }

    // Groups of four floats: (v0 + v1, v0 - v1, v2 + v3, v2 - v3)
    static ONEBIT_INLINE Floats pair_sums(Floats v) {
        const Floats signs = _mm256_setr_ps(0.0f, -0.0f, 0.0f, -0.0f, 0.0f, -0.0f, 0.0f, -0.0f);
        return add(_mm256_xor_ps(v, signs), _mm256_permute_ps(v, 0xb1));
    }
    // Of these sums (a, b, c, d) the table entries 0..3: (-a, b, -b, a) - c, and 4..7: (-a, b, -b, a) + d
    static ONEBIT_INLINE Floats signed_pairs(Floats v) {
        return _mm256_xor_ps(_mm256_permute_ps(v, 0x14),
                             _mm256_setr_ps(-0.0f, 0.0f, -0.0f, 0.0f, -0.0f, 0.0f, -0.0f, 0.0f));
    }
    static ONEBIT_INLINE Floats entries_0_to_3(Floats v) { return sub(signed_pairs(v), _mm256_permute_ps(v, 0xaa)); }
    static ONEBIT_INLINE Floats entries_4_to_7(Floats v) { return add(signed_pairs(v), _mm256_permute_ps(v, 0xff)); }
    // Of two registers: the sums of every group of four, (v0 + v1) + (v2 + v3), in any order.
    static ONEBIT_INLINE Floats group_sums(Floats a, Floats b) {
        const Floats pairs = add(_mm256_shuffle_ps(a, b, 0x88), _mm256_shuffle_ps(a, b, 0xdd));
        return add(pairs, _mm256_permute_ps(pairs, 0xb1));
    }

    // int32 to int8 with saturation; every lane: 4 of a, 4 of b, 4 of c, 4 of d
    static ONEBIT_INLINE Bytes narrow(Bytes a, Bytes b, Bytes c, Bytes d) {
        return _mm256_packs_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
    }
    // int32 to int8, in order
    static ONEBIT_INLINE void store_int8(std::int8_t* p, Bytes v) {
        const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
        _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packs_epi16(words, words));
    }
    static ONEBIT_INLINE Bytes add_128(Bytes v) { return _mm256_xor_si256(v, _mm256_set1_epi8(-128)); }
    // A lane holds the entries 0..7 of two groups; the whole table of one of them: entry 15 - i mirrors entry i,
    // negated.
    static ONEBIT_INLINE Bytes table_of_first(Bytes v) {
        const __m128i order = _mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, 7, 6, 5, 4, 3, 2, 1, 0);
        return negate_high_halves(_mm256_shuffle_epi8(v, _mm256_broadcastsi128_si256(order)));
    }
    static ONEBIT_INLINE Bytes table_of_second(Bytes v) {
        const __m128i order = _mm_setr_epi8(8, 9, 10, 11, 12, 13, 14, 15, 15, 14, 13, 12, 11, 10, 9, 8);
        return negate_high_halves(_mm256_shuffle_epi8(v, _mm256_broadcastsi128_si256(order)));
    }
    static ONEBIT_INLINE Bytes negate_high_halves(Bytes v) {
        const __m128i signs = _mm_setr_epi8(1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1, -1);
        return _mm256_sign_epi8(v, _mm256_broadcastsi128_si256(signs));
    }

    // Sums of unsigned bytes by column: as 16-bit numbers the bytes are low + 256 * high. `all` adds them so, modulo
    // 2^16, `high` adds the high bytes (odd columns) alone; what remains of `all` without them are the even columns.
    struct ColumnSums {
        Bytes all, high;
    };
    static ONEBIT_INLINE void add_columns(ColumnSums& sums, Bytes v) {
        sums.all = _mm256_add_epi16(sums.all, v);
        sums.high = _mm256_add_epi16(sums.high, _mm256_srli_epi16(v, 8));
        // Or gcc adds later lookups to each other first, and runs out of registers.
        __asm__("" : "+x"(sums.all), "+x"(sums.high));
    }
    static ONEBIT_INLINE void flush_columns(const ColumnSums& sums, std::int32_t* columns) {
        const Bytes even = _mm256_sub_epi16(sums.all, _mm256_slli_epi16(sums.high, 8));
        const Bytes low = _mm256_unpacklo_epi16(even, sums.high);   // columns 0..7 and 16..23
        const Bytes high = _mm256_unpackhi_epi16(even, sums.high);  // columns 8..15 and 24..31
        add_to(columns, _mm256_cvtepu16_epi32(_mm256_castsi256_si128(low)));
        add_to(columns + 8, _mm256_cvtepu16_epi32(_mm256_castsi256_si128(high)));
        add_to(columns + 16, _mm256_cvtepu16_epi32(_mm256_extracti128_si256(low, 1)));
        add_to(columns + 24, _mm256_cvtepu16_epi32(_mm256_extracti128_si256(high, 1)));
    }

    // Dot products of dot_products.h. 15 * 127 * 4 and 128 * 127 * 2 fit in 16 bits.
    static ONEBIT_INLINE Bytes add_dots(Bytes sum, Bytes low, Bytes q_low, Bytes high, Bytes q_high) {
        const Bytes pairs = _mm256_add_epi16(_mm256_maddubs_epi16(low, q_low), _mm256_maddubs_epi16(high, q_high));
        return add32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
    }
    static ONEBIT_INLINE Bytes add_int8_dots(Bytes sum, Bytes w, Bytes q) {
        const Bytes pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(q, w));
        return add32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
    }
};

}  // namespace
}  // namespace onebit::gemm
