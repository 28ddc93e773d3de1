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

// What an input reached that is more than a line of code: libFuzzer keeps inputs that set a counter first, as it does
// with code, and so the corpus holds each.
enum Reached : size_t {
    kEscape = 0,      // the number of an escape's further bits, and its side
    kHead = 64,       // the length of a first state
    kFrequency = 128, // precision, and the length of an entry's frequency
    kBound = 192,     // a state just at, or just below, the one that puts a word out or takes one, by bits
    kOutcome = 320,   // status, lanes, precision
    kReached = 1024
};

#if defined(__linux__)
__attribute__((section("__libfuzzer_extra_counters")))
#endif
static uint8_t reached_counters[kReached];

inline void reached(Reached kind, uint64_t value) {
    check(kind + value < kReached, "more can be reached than there are counters");
    reached_counters[kind + value] = 1;
}

inline uint32_t length_of(uint64_t value) {
    uint32_t bits = 0;
    while (value >> bits) ++bits;
    return bits;
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
