// Elementary functions on vectors, for any vector_<isa>.h. Bounds hold for every instruction set (tests/kernels checks
// them). Coefficients are minimax fits of our own, rounded to float32.
#pragma once

namespace onebit {
namespace {

// e^x, relative error below 3e-7; x is clamped to [-87, 88], so the result is normal and finite.
ONEBIT_INLINE Floats exponential(Floats x) {
    x = minimum(maximum(x, splat(-87.0f)), splat(88.0f));
    const Floats n = rounded(x * splat(1.44269504f));
    // ln 2 in two parts; the first has 10 trailing zero bits, so that n * ln 2 loses nothing.
    Floats r = fused(n, splat(-0.693359375f), x);
    r = fused(n, splat(2.12194440e-4f), r);
    Floats p = splat(0.0013813142431899905f);
    p = fused(p, r, splat(0.008369418792426586f));
    p = fused(p, r, splat(0.04166845604777336f));
    p = fused(p, r, splat(0.16666515171527863f));
    p = fused(p, r, splat(0.4999999403953552f));
    p = fused(p * r, r, r) + splat(1.0f);
    return p * power_of_two(n);
}

// ln x for normal x > 0, absolute error below 2e-6 for x in [1e-7, 1e7].
ONEBIT_INLINE Floats logarithm(Floats x) {
    Floats m, e;
    split(x, m, e);
    const Floats root = splat(1.41421356f);
    e = where_greater(m, root, e + splat(1.0f), e);
    m = where_greater(m, root, m * splat(0.5f), m);
    const Floats t = m - splat(1.0f);
    Floats q = splat(0.08672118932008743f);
    q = fused(q, t, splat(-0.14378003642940563f));
    q = fused(q, t, splat(0.14978012442588806f));
    q = fused(q, t, splat(-0.16564425826072693f));
    q = fused(q, t, splat(0.19954873621463776f));
    q = fused(q, t, splat(-0.250016987323761f));
    q = fused(q, t, splat(0.33334165811538696f));
    const Floats square = t * t;
    const Floats tail = fused(q * square, t, splat(-0.5f) * square);
    return fused(e, splat(0.69314718f), t + tail);
}

// erf(x), absolute error below 5e-7: an odd rational function, constant beyond 3.95, where erf is 1 - 2.3e-8.
ONEBIT_INLINE Floats error_function(Floats x) {
    x = minimum(maximum(x, splat(-3.95f)), splat(3.95f));
    const Floats u = x * x;
    Floats p = splat(2.011728838624549e-06f);
    p = fused(p, u, splat(0.0002875961654353887f));
    p = fused(p, u, splat(0.00391722097992897f));
    p = fused(p, u, splat(0.05320676043629646f));
    p = fused(p, u, splat(0.19403375685214996f));
    p = fused(p, u, splat(1.128378987312317f));
    Floats q = splat(3.7839330616407096e-05f);
    q = fused(q, u, splat(0.0011981729185208678f));
    q = fused(q, u, splat(0.01527051255106926f));
    q = fused(q, u, splat(0.1155899167060852f));
    q = fused(q, u, splat(0.5052894353866577f));
    q = fused(q, u, splat(1.0f));
    return x * p / q;
}

ONEBIT_INLINE Floats sigmoid(Floats x) { return splat(1.0f) / (splat(1.0f) + exponential(splat(0.0f) - x)); }

ONEBIT_INLINE Floats silu(Floats x) { return x / (splat(1.0f) + exponential(splat(0.0f) - x)); }

ONEBIT_INLINE Floats gelu(Floats x) {
    const Floats half = splat(0.5f) * x;
    return fused(half, error_function(x * splat(0.70710678f)), half);
}

}  // namespace
}  // namespace onebit
