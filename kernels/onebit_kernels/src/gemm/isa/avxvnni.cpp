// 4 bit and int8 with the 256-bit dot product of processors that have VNNI but no AVX-512.
#include "../vnni_dot_products.h"
#include "lanes_avx2.h"

namespace onebit::gemm {
namespace {

struct Lanes : Avx2Lanes {
    static ONEBIT_INLINE Bytes set_bytes(int v) { return _mm256_set1_epi8(static_cast<char>(v)); }
    static ONEBIT_INLINE Bytes both(Bytes a, Bytes b) { return _mm256_and_si256(a, b); }
    static ONEBIT_INLINE Bytes shift_right32_4(Bytes v) { return _mm256_srai_epi32(v, 4); }

    // In assembly for the reason given in vnni_avx512.h.
    static ONEBIT_INLINE Bytes dot(Bytes sum, Bytes weights, Bytes codes) {
        __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sum) : "x"(weights), "x"(codes));
        return sum;
    }
};

constexpr TileShape kShape{.strip_columns = 8, .rows = 6, .vectors = 2};

}  // namespace

extern const DotKernels dot_avxvnni{"avxvnni", kShape, true, run_tile<Multiply4<Lanes>, kShape.rows, kShape.vectors>,
                                    run_tile<Multiply8<Lanes>, kShape.rows, kShape.vectors>};

}  // namespace onebit::gemm
