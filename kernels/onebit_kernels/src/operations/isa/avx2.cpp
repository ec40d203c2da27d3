#include "vector_avx2.h"

#include "../integer_attention_operations.h"
#include "../operations_table.h"

namespace onebit {

extern const Operations operations_avx2;
const Operations operations_avx2 =
    table_of("avx2", integer_cache_operations<std::int16_t>(), integer_cache_operations<std::int8_t>());

}  // namespace onebit
