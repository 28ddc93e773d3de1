// An input taken apart from its front. Where it has ended there are zeros, so that every input means something.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

namespace rarefy::fuzz {

// Ends the process, which fuzzer and test alike count as a finding, also where assertions are compiled out.
inline void check(bool holds, const char* what) {
    if (holds) return;
    std::fprintf(stderr, "finding: %s\n", what);
    std::abort();
}

class Input {
public:
    Input(const uint8_t* data, size_t size) : next_(data), end_(data + size) {}

    uint32_t byte() { return next_ == end_ ? 0 : *next_++; }

    uint32_t word() {
        const uint32_t low = byte();
        return low | byte() << 8;
    }

    std::vector<uint8_t> rest() {
        const std::vector<uint8_t> bytes(next_, end_);
        next_ = end_;
        return bytes;
    }

private:
    const uint8_t* next_;
    const uint8_t* end_;
};

// Many numbers from a few bytes of an input, the same each time.
class Chance {
public:
    explicit Chance(uint32_t seed) : state_(seed) {}

    uint32_t below(uint32_t count) {
        state_ = state_ * 1664525u + 1013904223u;  // Numerical Recipes' generator; its upper bits are used
        return static_cast<uint32_t>((uint64_t{state_} * count) >> 32);
    }

private:
    uint32_t state_;
};

}  // namespace rarefy::fuzz
