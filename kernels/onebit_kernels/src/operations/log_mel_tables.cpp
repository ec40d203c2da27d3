#include "log_mel_tables.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace onebit {
namespace {

constexpr double kTurn = 2 * std::numbers::pi;

// Slaney's scale: linear (3 mel per 200 Hz) below 1 kHz, logarithmic above.
constexpr double kCornerHertz = 1000.0;
constexpr double kCornerMel = 15.0;
const double kStepsPerE = 27.0 / std::log(6.4);

double hertz_to_mel(double hertz) {
    return hertz < kCornerHertz ? 3 * hertz / 200 : kCornerMel + std::log(hertz / kCornerHertz) * kStepsPerE;
}

double mel_to_hertz(double mel) {
    return mel < kCornerMel ? 200 * mel / 3 : kCornerHertz * std::exp((mel - kCornerMel) / kStepsPerE);
}

std::vector<double> band_edges(int bands) {
    std::vector<double> edges(bands + 2);
    const double top = hertz_to_mel(kSampleRate / 2.0);
    for (int i = 0; i < bands + 2; ++i) edges[i] = mel_to_hertz(top * i / (bands + 1));
    return edges;
}

void add_band(LogMelTables& tables, double low, double centre, double high) {
    MelBand band{0, 0, static_cast<int>(tables.band_weights.size())};
    const double area = 2 / (high - low);  // every triangle has unit area
    for (int k = 0; k < kSpectrumBins; ++k) {
        const double hertz = static_cast<double>(k) * kSampleRate / kWindowSamples;
        const double height = std::min((hertz - low) / (centre - low), (high - hertz) / (high - centre));
        if (height <= 0) continue;
        if (band.count == 0) band.first = k;
        ++band.count;
        tables.band_weights.push_back(static_cast<float>(height * area));
    }
    tables.bands.push_back(band);
}

void push_angle(std::vector<float>& table, double angle) {
    table.push_back(static_cast<float>(std::cos(angle)));
    table.push_back(static_cast<float>(std::sin(angle)));
}

}  // namespace

LogMelTables::LogMelTables(int band_count) {
    for (int n = 0; n < kWindowSamples; ++n)
        window.push_back(static_cast<float>(0.5 - 0.5 * std::cos(kTurn * n / kWindowSamples)));
    int points = kTransform;
    for (const int radix : kRadices) {
        for (int p = 0; p < points / radix; ++p)
            for (int k = 1; k < radix; ++k) push_angle(twiddles, -kTurn * p * k / points);
        points /= radix;
    }
    for (int k = 0; k < kSpectrumBins; ++k) push_angle(rotations, kTurn * k / kWindowSamples);
    const std::vector<double> edges = band_edges(band_count);
    for (int i = 0; i < band_count; ++i) add_band(*this, edges[i], edges[i + 1], edges[i + 2]);
}

LogMelView LogMelTables::view() const {
    return {window.data(), twiddles.data(),     rotations.data(),
            bands.data(),  band_weights.data(), static_cast<int>(bands.size())};
}

}  // namespace onebit
