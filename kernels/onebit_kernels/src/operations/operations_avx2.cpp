#include "vector_avx2.h"

#include "operations_table.h"

namespace onebit {

extern const Operations operations_avx2;
const Operations operations_avx2 = table_named("avx2");

}  // namespace onebit
