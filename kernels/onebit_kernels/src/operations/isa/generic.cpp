#include "vector_generic.h"

#include "../operations_table.h"

namespace onebit {

extern const Operations operations_generic;
const Operations operations_generic = table_of("generic", cache_operations<Half>(), cache_operations<Half>());

}  // namespace onebit
