// AVX2.
#include "../activations.h"
#include "../dot_products.h"
#include "../shuffle_tables.h"
#include "lanes_avx2.h"

namespace onebit::gemm {
namespace {

using Lanes = Avx2Lanes;
constexpr TileShape kTableShape{.strip_columns = 32, .rows = 4, .vectors = 1};
constexpr TileShape kDotShape{.strip_columns = 8, .rows = 4, .vectors = 2};

}  // namespace

extern const ActivationKernels activations_avx2{"avx2", quantise<Lanes>, tables<Lanes>, exact_tables<Lanes>};
extern const TableKernels tables_avx2{"avx2", kTableShape, 1,
                                      run_tile<MultiplyTables<Lanes>, kTableShape.rows, kTableShape.vectors>};
extern const DotKernels dot_avx2{"avx2", kDotShape, false,
                                 run_tile<Multiply4<Lanes>, kDotShape.rows, kDotShape.vectors>,
                                 run_tile<Multiply8<Lanes>, kDotShape.rows, kDotShape.vectors>};

}  // namespace onebit::gemm
