#include "vector_ssse3.h"

#include "../integer_attention_operations.h"
#include "../operations_table.h"

namespace onebit {

extern const Operations operations_ssse3;
const Operations operations_ssse3 =
    table_of("ssse3", integer_cache_operations<std::int16_t>(), integer_cache_operations<std::int8_t>());

}  // namespace onebit
