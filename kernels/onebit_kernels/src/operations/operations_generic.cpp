#include "vector_generic.h"

#include "operations_table.h"

namespace onebit {

extern const Operations operations_generic;
const Operations operations_generic = table_named("generic");

}  // namespace onebit
