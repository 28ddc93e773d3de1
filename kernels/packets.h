// Wavelet packets of the CDF 9/7 wavelet by lifting: models/wavelets.py has the same in torch, to rounding.
//
// A plane is split along its rows, then along its columns, then each of the four bands again; a line in two bands, then
// each of them. Rows are lifted in two short arrays of even and odd samples, columns by whole rows at once, so that every
// loop runs along memory. Lines get the very floats that torch gives: the same operations, each rounded.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#include "clones.h"

namespace rarefy {

constexpr float kLifting[4] = {-1.586134342059924f, -0.052980118572961f, 0.882911075530934f, 0.443506852043971f};
constexpr float kLow = 1.149604398860241f, kHigh = -0.869864451624781f;

// to += factor (left + right), all of them rows of n.
RAREFY_CLONES static void lift(float* to, const float* left, const float* right, float factor, size_t n) {
    for (size_t i = 0; i < n; ++i) to[i] += factor * (left[i] + right[i]);
}

RAREFY_CLONES static void scale(float* values, float factor, size_t n) {
    for (size_t i = 0; i < n; ++i) values[i] *= factor;
}

RAREFY_CLONES static void divide(float* values, float divisor, size_t n) {
    for (size_t i = 0; i < n; ++i) values[i] /= divisor;
}

RAREFY_CLONES static void take_apart(const float* row, size_t half, float* even, float* odd) {
    for (size_t i = 0; i < half; ++i) {
        even[i] = row[2 * i];
        odd[i] = row[2 * i + 1];
    }
}

RAREFY_CLONES static void put_together(const float* even, const float* odd, size_t half, float* row) {
    for (size_t i = 0; i < half; ++i) {
        row[2 * i] = even[i];
        row[2 * i + 1] = odd[i];
    }
}

// One lifting step along a row: odd samples from the even ones beside them, or the other way round. Beyond an end the last
// sample comes again.
inline void lift_odd(const float* even, float* odd, float factor, size_t half) {
    lift(odd, even, even + 1, factor, half - 1);
    odd[half - 1] += factor * (even[half - 1] + even[half - 1]);
}

inline void lift_even(float* even, const float* odd, float factor, size_t half) {
    even[0] += factor * (odd[0] + odd[0]);
    lift(even + 1, odd, odd + 1, factor, half - 1);
}

class Packets {
public:
    Packets(size_t height, size_t width, int levels)
        : levels_(levels), even_(width / 2), odd_(width / 2), rows_(height * width), bands_(height * width) {}

    // One plane [height, width] to bands [4^levels, height / 2^levels, width / 2^levels].
    void split(const float* plane, size_t height, size_t width, float* out, int level = 0) {
        if (level == levels_) {
            std::copy_n(plane, height * width, out);
            return;
        }
        const size_t size = height * width / 4;
        std::vector<float> own(4 * size);
        split_once(plane, height, width, own.data());
        for (size_t band = 0; band < 4; ++band)
            split(own.data() + band * size, height / 2, width / 2, out + band * size, level + 1);
    }

    // The inverse.
    void merge(const float* bands, size_t height, size_t width, float* plane, int level = 0) {
        if (level == levels_) {
            std::copy_n(bands, height * width, plane);
            return;
        }
        const size_t size = height * width / 4;
        std::vector<float> own(4 * size);
        for (size_t band = 0; band < 4; ++band)
            merge(bands + band * size, height / 2, width / 2, own.data() + band * size, level + 1);
        merge_once(own.data(), height, width, plane);
    }

private:
    // Bands in the order low low, width low and height high, width high and height low, high high.
    void split_once(const float* plane, size_t height, size_t width, float* bands) {
        const size_t half = width / 2, size = height / 2 * half;
        float* sides[2] = {rows_.data(), rows_.data() + 2 * size};  // low and high along the rows, each [height, half]
        for (size_t y = 0; y < height; ++y) {
            take_apart(plane + y * width, half, even_.data(), odd_.data());
            for (int step = 0; step < 4; ++step)
                if (step % 2 == 0) lift_odd(even_.data(), odd_.data(), kLifting[step], half);
                else lift_even(even_.data(), odd_.data(), kLifting[step], half);
            scale(even_.data(), kLow, half);
            scale(odd_.data(), kHigh, half);
            std::copy_n(even_.data(), half, sides[0] + y * half);
            std::copy_n(odd_.data(), half, sides[1] + y * half);
        }
        for (size_t side = 0; side < 2; ++side) {
            float *low = bands + 2 * side * size, *high = low + size;
            for (size_t y = 0; y < height / 2; ++y) {
                std::copy_n(sides[side] + 2 * y * half, half, low + y * half);
                std::copy_n(sides[side] + (2 * y + 1) * half, half, high + y * half);
            }
            for (int step = 0; step < 4; ++step) lift_columns(low, high, height / 2, half, kLifting[step], step % 2 == 0);
            scale(low, kLow, size);
            scale(high, kHigh, size);
        }
    }

    void merge_once(const float* bands, size_t height, size_t width, float* plane) {
        const size_t half = width / 2, size = height / 2 * half;
        float* sides[2] = {rows_.data(), rows_.data() + 2 * size};
        for (size_t side = 0; side < 2; ++side) {
            float *low = bands_.data(), *high = low + size;
            std::copy_n(bands + 2 * side * size, 2 * size, low);
            scale(low, 1 / kLow, size);
            scale(high, 1 / kHigh, size);
            for (int step = 3; step >= 0; --step) lift_columns(low, high, height / 2, half, -kLifting[step], step % 2 == 0);
            for (size_t y = 0; y < height / 2; ++y) {
                std::copy_n(low + y * half, half, sides[side] + 2 * y * half);
                std::copy_n(high + y * half, half, sides[side] + (2 * y + 1) * half);
            }
        }
        for (size_t y = 0; y < height; ++y) {
            std::copy_n(sides[0] + y * half, half, even_.data());
            std::copy_n(sides[1] + y * half, half, odd_.data());
            scale(even_.data(), 1 / kLow, half);
            scale(odd_.data(), 1 / kHigh, half);
            for (int step = 3; step >= 0; --step)
                if (step % 2 == 0) lift_odd(even_.data(), odd_.data(), -kLifting[step], half);
                else lift_even(even_.data(), odd_.data(), -kLifting[step], half);
            put_together(even_.data(), odd_.data(), half, plane + y * width);
        }
    }

    // A lifting step along the columns of rows of n: whole rows at once.
    static void lift_columns(float* even, float* odd, size_t count, size_t n, float factor, bool is_odd) {
        for (size_t y = 0; y < count; ++y) {
            if (is_odd) lift(odd + y * n, even + y * n, even + std::min(y + 1, count - 1) * n, factor, n);
            else lift(even + y * n, odd + (y ? y - 1 : 0) * n, odd + y * n, factor, n);
        }
    }

    int levels_;
    std::vector<float> even_, odd_, rows_, bands_;
};

// Packets along one axis: lines of n samples to bands [2^levels, n / 2^levels] and back.
class LinePackets {
public:
    LinePackets(size_t n, int levels) : levels_(levels) {
        for (int level = 0; level < levels; ++level) own_.emplace_back(n >> level);
    }

    void split(const float* line, size_t n, float* out, int level = 0) {
        if (level == levels_) {
            std::copy_n(line, n, out);
            return;
        }
        const size_t half = n / 2;
        const bool is_last = level + 1 == levels_;
        float *even = is_last ? out : own_[level].data(), *odd = even + half;
        take_apart(line, half, even, odd);
        for (int step = 0; step < 4; ++step)
            if (step % 2 == 0) lift_odd(even, odd, kLifting[step], half);
            else lift_even(even, odd, kLifting[step], half);
        scale(even, kLow, half);
        scale(odd, kHigh, half);
        if (is_last) return;
        split(even, half, out, level + 1);
        split(odd, half, out + half, level + 1);
    }

    void merge(const float* bands, size_t n, float* line, int level = 0) {
        if (level == levels_) {
            std::copy_n(bands, n, line);
            return;
        }
        const size_t half = n / 2;
        float *even = own_[level].data(), *odd = even + half;
        merge(bands, half, even, level + 1);
        merge(bands + half, half, odd, level + 1);
        divide(even, kLow, half);
        divide(odd, kHigh, half);
        for (int step = 3; step >= 0; --step)
            if (step % 2 == 0) lift_odd(even, odd, -kLifting[step], half);
            else lift_even(even, odd, -kLifting[step], half);
        put_together(even, odd, half, line);
    }

private:
    int levels_;
    std::vector<std::vector<float>> own_;  // for each level, the bands of the line that is worked on
};

}  // namespace rarefy
