#include "registry.h"

#include <initializer_list>
#include <stdexcept>
#include <string>

#include "cpu_features.h"
#include "lowbit_gemm.h"

namespace onebit::gemm {

#define ISA(name, needs, activations, tables, dot, operations) \
    extern const ActivationKernels activations_##activations;  \
    extern const TableKernels tables_##tables;                 \
    extern const DotKernels dot_##dot;
#include "kernels.inc"
#undef ISA

namespace {

using Feature = bool CpuFeatures::*;

bool has_all(const CpuFeatures& cpu, std::initializer_list<Feature> needs) {
    for (const Feature feature : needs)
        if (!(cpu.*feature)) return false;
    return true;
}

// The features by the names that kernels.inc uses.
[[maybe_unused]] constexpr Feature ssse3 = &CpuFeatures::ssse3, avx2 = &CpuFeatures::avx2, fma = &CpuFeatures::fma,
                                   f16c = &CpuFeatures::f16c, avxvnni = &CpuFeatures::avxvnni,
                                   avx512f = &CpuFeatures::avx512f, avx512bw = &CpuFeatures::avx512bw,
                                   avx512vnni = &CpuFeatures::avx512vnni, avx512vbmi = &CpuFeatures::avx512vbmi,
                                   dotprod = &CpuFeatures::dotprod;

const std::vector<Isa>& all_isas() {
    static const std::vector<Isa> isas = [] {
        const CpuFeatures cpu = detect_cpu_features();
#define NEEDS(...) has_all(cpu, {__VA_ARGS__})
#define ISA(name, needs, activations, tables, dot, operations) \
    Isa{#name, needs, activations_##activations, tables_##tables, dot_##dot},
        return std::vector<Isa>{
#include "kernels.inc"
        };
#undef ISA
#undef NEEDS
    }();
    return isas;
}

std::string available_names() {
    std::string names;
    for (const std::string_view name : isa_names()) names += (names.empty() ? "" : ", ") + std::string(name);
    return names;
}

}  // namespace

std::vector<std::string_view> isa_names() {
    std::vector<std::string_view> names;
    for (const Isa& isa : all_isas())
        if (isa.available) names.insert(names.begin(), isa.name);
    return names;
}

const Isa& find_isa(std::string_view name) {
    const std::string_view wanted = name.empty() ? isa_names().front() : name;
    for (const Isa& isa : all_isas()) {
        if (isa.name != wanted) continue;
        if (isa.available) return isa;
        throw std::invalid_argument("this processor lacks instructions of isa '" + std::string(name) +
                                    "'; available: " + available_names());
    }
    throw std::invalid_argument("unknown isa '" + std::string(name) + "'; available: " + available_names());
}

std::string_view name_of(const Isa& isa) { return isa.name; }

}  // namespace onebit::gemm
