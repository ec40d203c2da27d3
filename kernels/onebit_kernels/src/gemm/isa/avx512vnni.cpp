// 4 bit and int8 with VNNI.
#include "../vnni_dot_products.h"
#include "lanes_avx512.h"
#include "vnni_avx512.h"

namespace onebit::gemm {
namespace {

struct Lanes : Avx512Lanes {
    static ONEBIT_INLINE Bytes set_bytes(int v) { return _mm512_set1_epi8(static_cast<char>(v)); }
    static ONEBIT_INLINE Bytes both(Bytes a, Bytes b) { return _mm512_and_si512(a, b); }
    static ONEBIT_INLINE Bytes shift_right32_4(Bytes v) { return _mm512_srai_epi32(v, 4); }
    static ONEBIT_INLINE Bytes dot(Bytes sum, Bytes weights, Bytes codes) { return dot_u8_s8(sum, weights, codes); }
};

constexpr TileShape kShape{.strip_columns = 16, .rows = 6, .vectors = 4};

}  // namespace

extern const DotKernels dot_avx512vnni{"avx512vnni", kShape, true,
                                       run_tile<Multiply4<Lanes>, kShape.rows, kShape.vectors>,
                                       run_tile<Multiply8<Lanes>, kShape.rows, kShape.vectors>};

}  // namespace onebit::gemm
