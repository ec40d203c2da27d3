#include "vector_avx512vnni.h"

#include "../integer_attention_operations.h"
#include "../operations_table.h"

namespace onebit {

extern const Operations operations_avx512vnni;
const Operations operations_avx512vnni =
    table_of("avx512vnni", integer_cache_operations<std::int16_t>(), integer_cache_operations<std::int8_t>());

}  // namespace onebit
