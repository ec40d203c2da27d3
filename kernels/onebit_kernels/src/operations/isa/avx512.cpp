#include "vector_avx512.h"

#include "../integer_attention_operations.h"
#include "../operations_table.h"

namespace onebit {

extern const Operations operations_avx512;
const Operations operations_avx512 =
    table_of("avx512", integer_cache_operations<std::int16_t>(), integer_cache_operations<std::int8_t>());

}  // namespace onebit
