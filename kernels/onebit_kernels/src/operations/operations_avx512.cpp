#include "vector_avx512.h"

#include "operations_table.h"

namespace onebit {

extern const Operations operations_avx512;
const Operations operations_avx512 = table_named("avx512");

}  // namespace onebit
