#include "cpu_features.h"

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#elif defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>
#endif

namespace onebit::gemm {

#if defined(__x86_64__)
namespace {

struct Registers {
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
};

Registers cpuid(unsigned leaf, unsigned subleaf) {
    Registers r;
    __get_cpuid_count(leaf, subleaf, &r.eax, &r.ebx, &r.ecx, &r.edx);
    return r;
}

bool bit(unsigned word, int index) { return (word >> index & 1) != 0; }

// Register state that the operating system saves on a task switch; without it wide registers are unusable.
unsigned enabled_state() {
    if (!bit(cpuid(1, 0).ecx, 27)) return 0;  // OSXSAVE
    unsigned low = 0, high = 0;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

}  // namespace

CpuFeatures detect_cpu_features() {
    constexpr unsigned kYmmState = 0x06, kZmmState = 0xe6;
    const unsigned state = enabled_state();
    const bool ymm = (state & kYmmState) == kYmmState;
    const bool zmm = (state & kZmmState) == kZmmState;
    const Registers leaf1 = cpuid(1, 0), leaf7 = cpuid(7, 0), leaf7_1 = cpuid(7, 1);
    return {
        .ssse3 = bit(leaf1.ecx, 9),
        .fma = ymm && bit(leaf1.ecx, 12),
        .f16c = ymm && bit(leaf1.ecx, 29),
        .avx2 = ymm && bit(leaf7.ebx, 5),
        .avxvnni = ymm && bit(leaf7_1.eax, 4),
        .avx512f = zmm && bit(leaf7.ebx, 16),
        .avx512bw = zmm && bit(leaf7.ebx, 30),
        .avx512vnni = zmm && bit(leaf7.ecx, 11),
        .avx512vbmi = zmm && bit(leaf7.ecx, 1),
    };
}

#elif defined(__aarch64__) && defined(__linux__)

CpuFeatures detect_cpu_features() { return {.dotprod = (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0}; }

#elif defined(__aarch64__) && defined(__APPLE__)

CpuFeatures detect_cpu_features() {
    int present = 0;
    size_t size = sizeof(present);
    sysctlbyname("hw.optional.arm.FEAT_DotProd", &present, &size, nullptr, 0);
    return {.dotprod = present != 0};
}

#else

CpuFeatures detect_cpu_features() { return {}; }

#endif

}  // namespace onebit::gemm
