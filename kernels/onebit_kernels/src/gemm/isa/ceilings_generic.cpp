// Architectures whose ceilings nobody has measured yet.
#include "../ceilings.h"

namespace onebit::gemm {

Ceiling measure_int8_ceiling() { return {"none", 0}; }
Ceiling measure_fp32_ceiling() { return {"none", 0}; }

}  // namespace onebit::gemm
