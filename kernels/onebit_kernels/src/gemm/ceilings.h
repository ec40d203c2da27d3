// What this processor can do at most on one core, measured: the widest int8 dot product and float32 multiply-add that
// it has, repeated on registers, with nothing to load. Benchmarks state products as a share of these.
#pragma once

namespace onebit::gemm {

struct Ceiling {
    const char* instruction;
    double operations_per_second;  // a multiplication and an addition are two
};

Ceiling measure_int8_ceiling();
Ceiling measure_fp32_ceiling();

}  // namespace onebit::gemm
