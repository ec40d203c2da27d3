// Ceilings of x86 processors. In assembly with registers by name, so that this file needs no flags and the compiler
// cannot shorten the loops. Register 0 and 1 are the factors, 2 to 13 the sums.
#include "../cpu_features.h"
#include "../peak_loop.h"

namespace onebit::gemm {
namespace {

#define TWELVE(I, R) I(R, 2) I(R, 3) I(R, 4) I(R, 5) I(R, 6) I(R, 7) I(R, 8) I(R, 9) I(R, 10) I(R, 11) I(R, 12) I(R, 13)
#define CLOBBERED                                                                                              \
    "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", \
        "xmm13", "xmm14", "xmm15"
#define PEAK_LOOP(name, clear, instructions)                                                             \
    void name(long rounds) {                                                                             \
        __asm__ volatile(clear "1:\n" instructions "dec %0\n jnz 1b\n" : "+r"(rounds)::"cc", CLOBBERED); \
    }

#define CLEAR(R, n) "vpxor %%xmm" #n ", %%xmm" #n ", %%xmm" #n "\n"
#define CLEAR_ALL CLEAR(R, 0) CLEAR(R, 1) TWELVE(CLEAR, x) "vzeroupper\n"
#define DOT(R, n) "vpdpbusd %%" #R "mm0, %%" #R "mm1, %%" #R "mm" #n "\n"
#define VEX_DOT(R, n) "%{vex%} " DOT(R, n)
#define MULTIPLY_ADD(R, n) "vfmadd231ps %%" #R "mm0, %%" #R "mm1, %%" #R "mm" #n "\n"
// Without a dot-product instruction it takes three.
// clang-format off
#define THREE_STEP_DOT(R, n)                               \
    "vpmaddubsw %%" #R "mm0, %%" #R "mm1, %%" #R "mm14\n"  \
    "vpmaddwd %%" #R "mm1, %%" #R "mm14, %%" #R "mm15\n"   \
    "vpaddd %%" #R "mm15, %%" #R "mm" #n ", %%" #R "mm" #n "\n"
// clang-format on

PEAK_LOOP(dots_zmm, CLEAR_ALL, TWELVE(DOT, z))
PEAK_LOOP(dots_ymm, CLEAR_ALL, TWELVE(VEX_DOT, y))
PEAK_LOOP(three_step_dots_ymm, CLEAR_ALL, TWELVE(THREE_STEP_DOT, y))
PEAK_LOOP(multiply_adds_zmm, CLEAR_ALL, TWELVE(MULTIPLY_ADD, z))
PEAK_LOOP(multiply_adds_ymm, CLEAR_ALL, TWELVE(MULTIPLY_ADD, y))

}  // namespace

Ceiling measure_int8_ceiling() {
    const CpuFeatures cpu = detect_cpu_features();
    if (cpu.avx512f && cpu.avx512vnni) return measure({"vpdpbusd, 512 bit", dots_zmm, 2 * 64});
    if (cpu.avxvnni) return measure({"vpdpbusd, 256 bit", dots_ymm, 2 * 32});
    if (cpu.avx2) return measure({"vpmaddubsw + vpmaddwd + vpaddd, 256 bit", three_step_dots_ymm, 2 * 32});
    return {"none", 0};
}

Ceiling measure_fp32_ceiling() {
    const CpuFeatures cpu = detect_cpu_features();
    if (cpu.avx512f) return measure({"vfmadd231ps, 512 bit", multiply_adds_zmm, 2 * 16});
    if (cpu.fma) return measure({"vfmadd231ps, 256 bit", multiply_adds_ymm, 2 * 8});
    return {"none", 0};
}

}  // namespace onebit::gemm
