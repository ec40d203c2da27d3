#include "operations.h"

namespace onebit {

extern const Operations operations_generic;
#if defined(__x86_64__)
extern const Operations operations_ssse3;
extern const Operations operations_avx2;
extern const Operations operations_avx512;
extern const Operations operations_avx512vnni;
#elif defined(__aarch64__)
extern const Operations operations_neon;
#endif

const Operations& operations_for(std::string_view isa) {
#if defined(__x86_64__)
    if (isa == "avx512vnni" || isa == "avx512vbmi") return operations_avx512vnni;
    if (isa.starts_with("avx512")) return operations_avx512;
    if (isa.starts_with("avx") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c")) return operations_avx2;
    if (isa != "generic") return operations_ssse3;
#elif defined(__aarch64__)
    if (isa.starts_with("neon")) return operations_neon;
#endif
    return operations_generic;
}

}  // namespace onebit
