// 4 bit and int8 with the dot-product instructions of Armv8.2.
#include "../dot_products.h"
#include "lanes_neon.h"

namespace onebit::gemm {
namespace {

struct Lanes : NeonLanes {
    static ONEBIT_INLINE Bytes add_int8_dots(Bytes sum, Bytes w, Bytes q) { return bytes(vdotq_s32(words(sum), w, q)); }
    static ONEBIT_INLINE Bytes add_dots(Bytes sum, Bytes low, Bytes q_low, Bytes high, Bytes q_high) {
        return add_int8_dots(add_int8_dots(sum, low, q_low), high, q_high);
    }
};

constexpr TileShape kShape{.strip_columns = 4, .rows = 4, .vectors = 4};

}  // namespace

extern const DotKernels dot_neon_dotprod{"neon_dotprod", kShape, false,
                                         run_tile<Multiply4<Lanes>, kShape.rows, kShape.vectors>,
                                         run_tile<Multiply8<Lanes>, kShape.rows, kShape.vectors>};

}  // namespace onebit::gemm
