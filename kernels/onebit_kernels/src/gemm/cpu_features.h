// Which instructions this processor and operating system offer, asked one by one.
#pragma once

namespace onebit::gemm {

struct CpuFeatures {
    bool ssse3 = false;
    bool fma = false;
    bool f16c = false;
    bool avx2 = false;
    bool avxvnni = false;
    bool avx512f = false;
    bool avx512bw = false;
    bool avx512vnni = false;
    bool avx512vbmi = false;
    bool dotprod = false;  // aarch64
};

CpuFeatures detect_cpu_features();

}  // namespace onebit::gemm
