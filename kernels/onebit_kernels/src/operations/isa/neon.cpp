#include "vector_neon.h"

#include "../operations_table.h"

namespace onebit {

extern const Operations operations_neon;
const Operations operations_neon = table_of("neon", cache_operations<Half>(), cache_operations<Half>());

}  // namespace onebit
