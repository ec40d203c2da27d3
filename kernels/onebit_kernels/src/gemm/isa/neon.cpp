// NEON: every AArch64 processor.
#include "../activations.h"
#include "../dot_products.h"
#include "../shuffle_tables.h"
#include "lanes_neon.h"

namespace onebit::gemm {
namespace {

using Lanes = NeonLanes;
constexpr TileShape kTableShape{.strip_columns = 16, .rows = 4, .vectors = 2};
constexpr TileShape kDotShape{.strip_columns = 4, .rows = 4, .vectors = 2};

}  // namespace

extern const ActivationKernels activations_neon{"neon", quantise<Lanes>, tables<Lanes>, exact_tables<Lanes>};
extern const TableKernels tables_neon{"neon", kTableShape, 1,
                                      run_tile<MultiplyTables<Lanes>, kTableShape.rows, kTableShape.vectors>};
extern const DotKernels dot_neon{"neon", kDotShape, false,
                                 run_tile<Multiply4<Lanes>, kDotShape.rows, kDotShape.vectors>,
                                 run_tile<Multiply8<Lanes>, kDotShape.rows, kDotShape.vectors>};

}  // namespace onebit::gemm
