// Ceilings of 64-bit ARM processors; the conventions of ceilings_x86.cpp.
#include "../cpu_features.h"
#include "../peak_loop.h"

namespace onebit::gemm {
namespace {

#define TWELVE(I) I(2) I(3) I(4) I(5) I(6) I(7) I(16) I(17) I(18) I(19) I(20) I(21)
#define CLOBBERED "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v16", "v17", "v18", "v19", "v20", "v21", "v22"
// clang-format off
#define PEAK_LOOP(name, instructions)                                                  \
    void name(long rounds) {                                                           \
        __asm__ volatile(".arch armv8.2-a+dotprod\n" CLEAR(0) CLEAR(1) TWELVE(CLEAR)   \
                         "1:\n" instructions "subs %0, %0, #1\n b.ne 1b\n"             \
                         : "+r"(rounds)::"cc", CLOBBERED);                             \
    }
// clang-format on

#define CLEAR(n) "movi v" #n ".16b, #0\n"
#define DOT(n) "sdot v" #n ".4s, v0.16b, v1.16b\n"
#define MULTIPLY_ADD(n) "fmla v" #n ".4s, v0.4s, v1.4s\n"
// Half a register of products and their addition.
#define TWO_STEP_DOT(n) "smull v22.8h, v0.8b, v1.8b\n sadalp v" #n ".4s, v22.8h\n"

PEAK_LOOP(dots, TWELVE(DOT))
PEAK_LOOP(two_step_dots, TWELVE(TWO_STEP_DOT))
PEAK_LOOP(multiply_adds, TWELVE(MULTIPLY_ADD))

}  // namespace

Ceiling measure_int8_ceiling() {
    if (detect_cpu_features().dotprod) return measure({"sdot", dots, 2 * 16});
    return measure({"smull + sadalp", two_step_dots, 2 * 8});
}

Ceiling measure_fp32_ceiling() { return measure({"fmla", multiply_adds, 2 * 4}); }

}  // namespace onebit::gemm
