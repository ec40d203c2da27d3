// Preparation of activations, once for all vector instruction sets: the rules of generic.cpp on registers of 128-bit
// lanes. `Lanes` is the vocabulary of one instruction set (lanes_*.h). A lane holds one group of four values, or one
// table.
#pragma once

#include <cfloat>

#include "kernels.h"

namespace onebit::gemm {
namespace {

constexpr float kLargest = 127.0f;

ONEBIT_INLINE float steps_per_unit(float bound) {
    const float steps = kLargest / bound;
    return steps <= FLT_MAX ? steps : 0.0f;
}

template <class Lanes>
void quantise(const float* x, int columns, std::int8_t* codes, float* scale, std::int32_t* sum) {
    typename Lanes::Floats bound = Lanes::set(0.0f);
    for (int k = 0; k < columns; k += Lanes::kFloats) bound = Lanes::max(bound, Lanes::abs(Lanes::load_floats(x + k)));
    const float largest = Lanes::largest(bound);
    const typename Lanes::Floats steps = Lanes::set(steps_per_unit(largest));
    typename Lanes::Bytes sums = Lanes::zero();
    for (int k = 0; k < columns; k += Lanes::kFloats) {
        const typename Lanes::Bytes rounded = Lanes::round(Lanes::mul(Lanes::load_floats(x + k), steps));
        Lanes::store_int8(codes + k, rounded);
        sums = Lanes::add32(sums, rounded);
    }
    *sum = Lanes::sum32(sums);
    *scale = largest / kLargest;
}

// The first eight entries of the table of each group. The other eight mirror them, and so they do with the bias: what
// is e + 128 on one side is -e + 128 = -(e + 128) modulo 256 on the other.
//   entries 0..3: (+-x0 +-x1) - (x2 + x3)      entries 4..7: (+-x0 +-x1) + (x2 - x3)
template <class Lanes>
struct HalfTables {
    typename Lanes::Floats first, second;

    explicit ONEBIT_INLINE HalfTables(typename Lanes::Floats x) {
        const typename Lanes::Floats sums = Lanes::pair_sums(x);
        first = Lanes::entries_0_to_3(sums);
        second = Lanes::entries_4_to_7(sums);
    }
};

// Two registers of groups become their tables. a, b: entries 0..3 and 4..7 of the first; c, d: of the second.
template <class Lanes>
ONEBIT_INLINE void store_tables(std::uint8_t* tables, typename Lanes::Bytes a, typename Lanes::Bytes b,
                                typename Lanes::Bytes c, typename Lanes::Bytes d) {
    const typename Lanes::Bytes entries = Lanes::add_128(Lanes::narrow(a, b, c, d));
    Lanes::store(tables, Lanes::table_of_first(entries));
    Lanes::store(tables + Lanes::kBytes, Lanes::table_of_second(entries));
}

template <class Lanes>
void tables(const float* x, int columns, std::uint8_t* tables, float* scale) {
    constexpr int kStep = 2 * Lanes::kFloats;
    typename Lanes::Floats bound = Lanes::set(0.0f);
    for (int k = 0; k < columns; k += kStep) {
        const typename Lanes::Floats low = Lanes::abs(Lanes::load_floats(x + k));
        const typename Lanes::Floats high = Lanes::abs(Lanes::load_floats(x + k + Lanes::kFloats));
        bound = Lanes::max(bound, Lanes::group_sums(low, high));
    }
    const float largest = Lanes::largest(bound);
    const typename Lanes::Floats steps = Lanes::set(steps_per_unit(largest));
    for (int k = 0; k < columns; k += kStep, tables += 2 * Lanes::kBytes) {
        const HalfTables<Lanes> low(Lanes::mul(Lanes::load_floats(x + k), steps));
        const HalfTables<Lanes> high(Lanes::mul(Lanes::load_floats(x + k + Lanes::kFloats), steps));
        store_tables<Lanes>(tables, Lanes::round(low.first), Lanes::round(low.second), Lanes::round(high.first),
                            Lanes::round(high.second));
    }
    *scale = largest / kLargest;
}

// sum = 4 * coarse + fine, as in generic.cpp; the sums of codes are exact in float.
template <class Lanes>
struct SplitSum {
    typename Lanes::Bytes coarse, fine;

    explicit ONEBIT_INLINE SplitSum(typename Lanes::Floats sum) {
        coarse = Lanes::round(Lanes::mul(sum, Lanes::set(0.25f)));
        fine = Lanes::sub32(Lanes::round(sum), Lanes::shift_left32(coarse, 2));
    }
};

template <class Lanes>
void exact_tables(const std::int8_t* codes, int columns, std::uint8_t* coarse, std::uint8_t* fine) {
    for (int k = 0; k < columns; k += 2 * Lanes::kFloats, coarse += 2 * Lanes::kBytes, fine += 2 * Lanes::kBytes) {
        const HalfTables<Lanes> low(Lanes::load_int8(codes + k)), high(Lanes::load_int8(codes + k + Lanes::kFloats));
        const SplitSum<Lanes> a(low.first), b(low.second), c(high.first), d(high.second);
        store_tables<Lanes>(coarse, a.coarse, b.coarse, c.coarse, d.coarse);
        store_tables<Lanes>(fine, a.fine, b.fine, c.fine, d.fine);
    }
}

}  // namespace
}  // namespace onebit::gemm
