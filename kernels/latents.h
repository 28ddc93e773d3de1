// What happens to a quarter of the latents between its means and its symbols, in one pass over memory instead of twenty.
// rarefy.entropy.coding has the same in torch; symbols are equal, floats to a few units in the last place.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "clones.h"

namespace rarefy {

// A quarter in the arrays of all latents: channels side by side, positions at any stride. Its own arrays have none.
template <typename T>
struct Places {
    T* data;
    ptrdiff_t batch_stride, row_stride, column_stride;

    T* at(size_t batch, size_t row, size_t column) const {
        return data + static_cast<ptrdiff_t>(batch) * batch_stride + static_cast<ptrdiff_t>(row) * row_stride +
               static_cast<ptrdiff_t>(column) * column_stride;
    }
};

struct Extents {
    size_t batch, height, width, channels;
};

// The nearest integer of -32768..32767, halves to even; -32768 for what is no number.
inline int16_t nearest(float x) {
    constexpr float kRounder = 12582912.0f;  // 1.5 * 2^23: sums with it have no fraction
    x = x > -32768.0f ? x : -32768.0f;
    x = x < 32767.0f ? x : 32767.0f;
    return static_cast<int16_t>(static_cast<int32_t>((x + kRounder) - kRounder));
}

// ln x for x >= 1 up to the largest float, to 1e-7: x = 2^e (1 + t) with t in -.3 .. .42, and an odd series in
// s = t / (2 + t), ln (1 + t) = 2 (s + s^3 / 3 + s^5 / 5 + ...).
inline float natural_logarithm(float x) {
    int32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    const int32_t exponent = (bits - 0x3f3504f3) >> 23;  // of x / sqrt(1/2)
    bits -= exponent << 23;
    float mantissa;
    std::memcpy(&mantissa, &bits, sizeof mantissa);
    const float t = mantissa - 1.0f;
    const float s = t / (2.0f + t), square = s * s;
    const float series = square * (0.33333333f + square * (0.2f + square * (0.14285714f + square * 0.11111111f)));
    return static_cast<float>(exponent) * 0.69314718f + 2.0f * (s + s * series);
}

inline float inverse_sinh(float x) {
    const float magnitude = x < 0.0f ? -x : x;
    const float result = natural_logarithm(magnitude + std::sqrt(magnitude * magnitude + 1.0f));
    return x < 0.0f ? -result : result;
}

// symbols = nearest(target - mean), zero where the index is that of the table that knows no other symbol.
RAREFY_CLONES static void choose_row(const float* target, const float* mean, const uint8_t* index, size_t count,
                                     int16_t* symbols) {
    for (size_t i = 0; i < count; ++i) symbols[i] = index[i] ? nearest(target[i] - mean[i]) : int16_t{0};
}

// Latents and what the networks see of them.
RAREFY_CLONES static void take_row(const int16_t* symbols, const float* mean, const float* spread, size_t count,
                                   float* latents, float* known) {
    for (size_t i = 0; i < count; ++i) {
        const float latent = static_cast<float>(symbols[i]) + mean[i];
        latents[i] = latent;
        known[i] = inverse_sinh(latent / spread[i]);
    }
}

inline void magnitudes_row(const int16_t* symbols, const int8_t* table, size_t count, int8_t* magnitudes) {
    for (size_t i = 0; i < count; ++i) magnitudes[i] = table[std::min<int32_t>(std::abs(int32_t{symbols[i]}), 127)];
}

constexpr size_t kAhead = 6;  // positions; the networks between two quarters leave nothing of these arrays in the caches

// Ask for memory that is read or written soon.
template <typename T>
void fetch(const T* from, size_t count) {
#if defined(__GNUC__)
    constexpr size_t kLine = 64 / sizeof(T);
    for (size_t i = 0; i < count; i += kLine) __builtin_prefetch(from + i);
#endif
}

template <class Row>
void each_position(const Extents& extents, const Row& row) {
    size_t own = 0;  // in the quarter's own arrays
    for (size_t b = 0; b < extents.batch; ++b)
        for (size_t y = 0; y < extents.height; ++y)
            for (size_t x = 0; x < extents.width; ++x, own += extents.channels) row(b, y, x, own);
}

}  // namespace rarefy
