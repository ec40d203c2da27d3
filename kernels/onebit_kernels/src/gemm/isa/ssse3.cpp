// SSSE3: the small Atom and Celeron processors that have no AVX.
#include "../activations.h"
#include "../dot_products.h"
#include "../shuffle_tables.h"
#include "lanes_ssse3.h"

namespace onebit::gemm {
namespace {

using Lanes = Ssse3Lanes;
constexpr TileShape kTableShape{.strip_columns = 16, .rows = 4, .vectors = 1};
constexpr TileShape kDotShape{.strip_columns = 4, .rows = 4, .vectors = 2};

}  // namespace

extern const ActivationKernels activations_ssse3{"ssse3", quantise<Lanes>, tables<Lanes>, exact_tables<Lanes>};
extern const TableKernels tables_ssse3{"ssse3", kTableShape, 1,
                                       run_tile<MultiplyTables<Lanes>, kTableShape.rows, kTableShape.vectors>};
extern const DotKernels dot_ssse3{"ssse3", kDotShape, false,
                                  run_tile<Multiply4<Lanes>, kDotShape.rows, kDotShape.vectors>,
                                  run_tile<Multiply8<Lanes>, kDotShape.rows, kDotShape.vectors>};

}  // namespace onebit::gemm
