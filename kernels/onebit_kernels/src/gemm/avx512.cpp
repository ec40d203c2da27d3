// AVX-512 (F and BW): activations, which every AVX-512 processor prepares alike, and products for those without VNNI or VBMI.
#include "activations.h"
#include "lanes_avx512.h"

namespace onebit::gemm {

using Lanes = Avx512Lanes;

extern const ActivationKernels activations_avx512{"avx512", quantise<Lanes>, tables<Lanes>, exact_tables<Lanes>};

}  // namespace onebit::gemm
