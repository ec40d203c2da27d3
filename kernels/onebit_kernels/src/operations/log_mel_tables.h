// Constants of the log-mel front end (Whisper's, with a constant floor); onebit_model/audio/features.py states the same
// in numpy.
#pragma once

#include <vector>

namespace onebit {

inline constexpr int kSampleRate = 16000;
inline constexpr int kWindowSamples = 400;                    // 25 ms
inline constexpr int kHopSamples = 160;                       // 10 ms
inline constexpr int kSpectrumBins = kWindowSamples / 2 + 1;  // 0 .. 8000 Hz
inline constexpr int kTransform = kWindowSamples / 2;         // a real transform of 400 is a complex one of 200

// Floats that `Operations::log_mel` needs: two complex buffers and a spectrum, sixteen frames wide.
inline constexpr int kLogMelScratch = 16 * (2 * 2 * kTransform + kSpectrumBins);

// Triangle of one mel band: weights[offset + i] belongs to spectrum bin first + i, i < count.
struct MelBand {
    int first;
    int count;
    int offset;
};

// What the operation reads; plain pointers, because the ISA files that include this must not instantiate std templates.
struct LogMelView {
    const float* window;     // (400) periodic Hann
    const float* twiddles;   // (cos, sin) pairs in the order in which the stages of the transform use them
    const float* rotations;  // (201, 2) cos and sin of 2 pi k / 400: joins the two halves of the real transform
    const MelBand* bands;
    const float* band_weights;
    int band_count;
};

struct LogMelTables {
    explicit LogMelTables(int band_count);

    LogMelView view() const;

    std::vector<float> window;
    std::vector<float> twiddles;
    std::vector<float> rotations;
    std::vector<MelBand> bands;
    std::vector<float> band_weights;
};

// The stages of the 200-point transform.
inline constexpr int kRadices[] = {5, 5, 4, 2};

}  // namespace onebit
