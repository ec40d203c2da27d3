// Log-mel of kLanes frames at a time, one frame per lane, for any vector_<isa>.h. Contracts: operations.h.
#pragma once

#include <cstddef>

#include "elementary_functions.h"
#include "log_mel_tables.h"
#include "operations.h"

namespace onebit {
namespace {

struct Complex {
    Floats re;
    Floats im;
};

ONEBIT_INLINE Complex operator+(Complex a, Complex b) { return {a.re + b.re, a.im + b.im}; }
ONEBIT_INLINE Complex operator-(Complex a, Complex b) { return {a.re - b.re, a.im - b.im}; }
ONEBIT_INLINE Complex scaled(Complex a, float factor) { return {a.re * splat(factor), a.im * splat(factor)}; }
ONEBIT_INLINE Complex over_i(Complex a) { return {a.im, splat(0.0f) - a.re}; }

ONEBIT_INLINE Complex rotated(Complex a, float cosine, float sine) {
    return {a.re * splat(cosine) - a.im * splat(sine), a.re * splat(sine) + a.im * splat(cosine)};
}

ONEBIT_INLINE Complex load_complex(const float* from) { return {load(from), load(from + kLanes)}; }

ONEBIT_INLINE void store_complex(float* to, Complex a) {
    store(to, a.re);
    store(to + kLanes, a.im);
}

constexpr int kComplex = 2 * kLanes;  // floats of one complex value in all lanes

// b[k] = sum over j of a[j] e^(-2 pi i j k / radix), in place.
ONEBIT_INLINE void butterfly(Complex (&a)[2]) {
    const Complex b = a[0];
    a[0] = b + a[1];
    a[1] = b - a[1];
}

ONEBIT_INLINE void butterfly(Complex (&a)[4]) {
    const Complex even = a[0] + a[2], difference = a[0] - a[2], odd = a[1] + a[3], turned = over_i(a[1] - a[3]);
    a[0] = even + odd;
    a[1] = difference + turned;
    a[2] = even - odd;
    a[3] = difference - turned;
}

ONEBIT_INLINE void butterfly(Complex (&a)[5]) {
    constexpr float kCos1 = 0.309016994f, kCos2 = -0.809016994f, kSin1 = 0.951056516f, kSin2 = 0.587785252f;
    const Complex outer = a[1] + a[4], inner = a[2] + a[3];
    const Complex outer_i = over_i(a[1] - a[4]), inner_i = over_i(a[2] - a[3]);
    const Complex re1 = a[0] + scaled(outer, kCos1) + scaled(inner, kCos2);
    const Complex re2 = a[0] + scaled(outer, kCos2) + scaled(inner, kCos1);
    const Complex im1 = scaled(outer_i, kSin1) + scaled(inner_i, kSin2);
    const Complex im2 = scaled(outer_i, kSin2) - scaled(inner_i, kSin1);
    a[0] = a[0] + outer + inner;
    a[1] = re1 + im1;
    a[2] = re2 + im2;
    a[3] = re2 - im2;
    a[4] = re1 - im1;
}

// One self-sorting stage: `points` per transform still joined, `stride` transforms done side by side.
template <int kRadix>
ONEBIT_INLINE const float* transform_stage(const float* x, float* y, int points, int stride, const float* twiddles) {
    const int parts = points / kRadix;
    for (int p = 0; p < parts; ++p, twiddles += 2 * (kRadix - 1)) {
        for (int q = 0; q < stride; ++q) {
            Complex a[kRadix];
            for (int j = 0; j < kRadix; ++j) a[j] = load_complex(x + (q + stride * (p + parts * j)) * kComplex);
            butterfly(a);
            float* out = y + (q + stride * kRadix * p) * kComplex;
            store_complex(out, a[0]);
            for (int k = 1; k < kRadix; ++k)
                store_complex(out + k * stride * kComplex, rotated(a[k], twiddles[2 * k - 2], twiddles[2 * k - 1]));
        }
    }
    return twiddles;
}

// 200 complex points in `a`, result in `a`.
ONEBIT_INLINE void transform(float* a, float* b, const float* twiddles) {
    static_assert(kRadices[0] == 5 && kRadices[1] == 5 && kRadices[2] == 4 && kRadices[3] == 2);
    twiddles = transform_stage<5>(a, b, 200, 1, twiddles);
    twiddles = transform_stage<5>(b, a, 40, 5, twiddles);
    twiddles = transform_stage<4>(a, b, 8, 25, twiddles);
    transform_stage<2>(b, a, 2, 100, twiddles);
}

// Even samples become real parts, odd samples imaginary parts; absent frames are zero.
ONEBIT_INLINE void gather(const LogMelView& view, const float* samples, int frames, float* points) {
    const float* window = view.window;
    for (int lane = 0; lane < kLanes; ++lane) {
        const float* from = samples + lane * kHopSamples;
        if (lane < frames) {
            for (int n = 0; n < kWindowSamples; ++n) points[n * kLanes + lane] = window[n] * from[n];
        } else {
            for (int n = 0; n < kWindowSamples; ++n) points[n * kLanes + lane] = 0.0f;
        }
    }
}

// |X[k]|^2 of the real transform from the transform Z of its even and odd samples:
// X[k] = (Z[k] + conj Z[200 - k]) / 2 + e^(-2 pi i k / 400) (Z[k] - conj Z[200 - k]) / 2i
ONEBIT_INLINE void power_spectrum(const LogMelView& view, const float* points, float* power) {
    const float* rotation = view.rotations;
    for (int k = 0; k < kSpectrumBins; ++k, rotation += 2) {
        const Complex z = load_complex(points + k % kTransform * kComplex);
        const Complex mirror = load_complex(points + (kTransform - k) % kTransform * kComplex);
        const Complex even = {z.re + mirror.re, z.im - mirror.im};
        const Complex odd = {z.im + mirror.im, mirror.re - z.re};
        const Complex doubled = even + rotated(odd, rotation[0], -rotation[1]);
        store(power + k * kLanes, (doubled.re * doubled.re + doubled.im * doubled.im) * splat(0.25f));
    }
}

ONEBIT_INLINE void mel_bands(const LogMelView& view, const float* power, int frames, float* mel) {
    constexpr float kFloor = 1e-6f, kLog10OfE = 0.43429448f;
    const int bands = view.band_count;
    for (int b = 0; b < bands; ++b) {
        const MelBand band = view.bands[b];
        const float* weights = view.band_weights + band.offset;
        Floats total = splat(0.0f);
        for (int i = 0; i < band.count; ++i)
            total = fused(splat(weights[i]), load(power + (band.first + i) * kLanes), total);
        const Floats log10 = logarithm(maximum(total, splat(kFloor))) * splat(kLog10OfE);
        float lane[kLanes];
        store(lane, (log10 + splat(4.0f)) * splat(0.25f));
        for (int t = 0; t < frames; ++t) mel[t * bands + b] = lane[t];
    }
}

void log_mel(const LogMelView& view, const float* samples, int frames, float* mel, float* scratch) {
    float* points = scratch;
    float* other = points + kTransform * kComplex;
    float* power = other + kTransform * kComplex;
    for (int t = 0; t < frames; t += kLanes) {
        const int present = frames - t < kLanes ? frames - t : kLanes;
        gather(view, samples + static_cast<std::ptrdiff_t>(t) * kHopSamples, present, points);
        transform(points, other, view.twiddles);
        power_spectrum(view, points, power);
        mel_bands(view, power, present, mel + static_cast<std::ptrdiff_t>(t) * view.band_count);
    }
}

}  // namespace
}  // namespace onebit
