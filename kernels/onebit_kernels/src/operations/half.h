// IEEE 754 binary16 as storage; arithmetic is always float32.
#pragma once

#include <cstdint>
#include <cstring>

namespace onebit {

struct Half {
    std::uint16_t bits;
};

// 2^112 moves the exponent bias from 15 to 127, which also makes subnormals right.
inline float to_float(Half half) {
    const std::uint32_t magnitude = static_cast<std::uint32_t>(half.bits & 0x7fffu) << 13;
    float value;
    std::memcpy(&value, &magnitude, sizeof value);
    value *= 0x1p112f;
    return half.bits & 0x8000u ? -value : value;
}

}  // namespace onebit
