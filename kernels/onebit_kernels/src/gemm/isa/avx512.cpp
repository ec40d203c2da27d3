// AVX-512 (F and BW): activations, which every AVX-512 processor prepares alike, and products for those without VNNI or
// VBMI.
#include "../activations.h"
#include "../dot_products.h"
#include "../shuffle_tables.h"
#include "lanes_avx512.h"

namespace onebit::gemm {
namespace {

using Lanes = Avx512Lanes;
constexpr TileShape kTableShape{.strip_columns = 64, .rows = 6, .vectors = 2};
constexpr TileShape kDotShape{.strip_columns = 16, .rows = 6, .vectors = 2};

}  // namespace

extern const ActivationKernels activations_avx512{"avx512", quantise<Lanes>, tables<Lanes>, exact_tables<Lanes>};
extern const TableKernels tables_avx512{"avx512", kTableShape, 1,
                                        run_tile<MultiplyTables<Lanes>, kTableShape.rows, kTableShape.vectors>};
extern const DotKernels dot_avx512{"avx512", kDotShape, false,
                                   run_tile<Multiply4<Lanes>, kDotShape.rows, kDotShape.vectors>,
                                   run_tile<Multiply8<Lanes>, kDotShape.rows, kDotShape.vectors>};

}  // namespace onebit::gemm
