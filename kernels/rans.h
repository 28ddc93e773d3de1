// The arithmetic of the coded stream (docs/CODER.md), apart from any loop: what one lane does for one symbol.
//
// Interleaved rANS with 32-bit states and 16-bit words. `rarefy/entropy/rans.py` defines it; this must give its bytes.
// Compiled for the CPU by the build and for GPUs at run time, where there is no standard library beyond these types, and
// every function is one for the device (docs/KERNELS.md, "CUDA").
#pragma once

#include <cstddef>
#include <cstdint>

namespace rarefy {

constexpr uint32_t kStateLow = 1u << 16;  // a state lies in [kStateLow, 2^32) between symbols
constexpr int kMaxLanes = 32;
constexpr int kLongestLanesCode = 5;                    // log2(kMaxLanes)
constexpr int kEscapeOrder = 1;                         // order of the Exp-Golomb code
constexpr int kLongestPrefix = 17 - kEscapeOrder;       // zeros before the one; 2 * 65535 + 1 needs no more
constexpr int kEscapeSteps = kLongestPrefix + 1 + 2;    // pieces of uniform bits in the longest escape

// Keep in step with FAULTS in rarefy/entropy/rans.py.
enum class Status : int {
    ok = 0,
    truncated = 1,        // a word is needed and none is left
    lanes_reserved = 2,   // the first byte names no number of lanes
    state_range = 3,      // an initial state is below kStateLow
    escape_range = 4,     // an escape leads out of int16
    words_left = 5,       // words are left after the last symbol
    state_end = 6,        // a final state is not kStateLow
    row_range = 7,        // a row index is beyond the tables
    certain_symbol = 8,   // a symbol to encode differs from the only one its row allows
    too_many_symbols = 9  // more coded symbols than the rest of the stream can hold
};

// One symbol of one row, as the decoder looks it up.
struct DecodeEntry {
    uint16_t frequency;
    uint16_t start;
    int16_t symbol;
    uint16_t is_escape;
};

// One symbol of one row for the encoder: x / frequency = (x * reciprocal) >> (32 + precision), exact for every state
// below frequency << (32 - precision), since reciprocal = ceil(2^(32 + precision) / frequency) errs by less than
// frequency / 2^(32 + precision) and the product stays below 2^64.
struct EncodeEntry {
    uint64_t reciprocal;
    uint16_t frequency;
    uint16_t start;
};

// Reads little-endian words and never beyond `end`.
struct WordReader {
    const uint8_t* next = nullptr;
    const uint8_t* end = nullptr;

    bool is_empty() const { return next == end; }
    size_t count() const { return static_cast<size_t>(end - next) / 2; }
    uint32_t peek() const { return static_cast<uint32_t>(next[0]) | static_cast<uint32_t>(next[1]) << 8; }
};

// Take an entry from a state whose lowest bits, the slot, lie in that entry.
inline uint32_t without_entry(uint32_t state, uint32_t frequency, uint32_t start, int precision) {
    return frequency * (state >> precision) + (state & ((1u << precision) - 1)) - start;
}

inline bool needs_word(uint32_t state) { return state < kStateLow; }
inline uint32_t with_word(uint32_t state, uint32_t word) { return state << 16 | word; }

// Bring a state back to its range; false if that needs a word and none is left.
inline bool refill(uint32_t& state, WordReader& words) {
    if (!needs_word(state)) return true;
    if (words.is_empty()) return false;
    state = with_word(state, words.peek());
    words.next += 2;
    return true;
}

// Take `bits` (0 to 16) uniform bits from a state.
inline bool get_bits(uint32_t& state, WordReader& words, int bits, uint32_t& value) {
    value = state & ((1u << bits) - 1);
    state >>= bits;
    return refill(state, words);
}

// Take what follows an escape entry: an Exp-Golomb code of the distance beyond the row, the side in its lowest bit.
inline Status get_escape(uint32_t& state, WordReader& words, uint32_t& folded) {
    int extra = 0;
    for (uint32_t bit = 0; bit == 0; ++extra) {
        if (extra > kLongestPrefix) return Status::escape_range;
        if (!get_bits(state, words, 1, bit)) return Status::truncated;
    }
    --extra;
    uint32_t high = 0, low = 0;
    if (!get_bits(state, words, extra, high) || !get_bits(state, words, kEscapeOrder, low)) return Status::truncated;
    folded = ((((1u << extra) | high) - 1) << kEscapeOrder) | low;
    return Status::ok;
}

// The symbol of an escape: `offset` and `value_count` are its row's. False if it does not fit 16 bits.
inline bool unfold(uint32_t folded, int32_t offset, uint32_t value_count, int16_t& symbol) {
    const auto distance = static_cast<int32_t>(folded >> 1);
    const int32_t value = folded & 1 ? offset - 1 - distance : offset + static_cast<int32_t>(value_count) + distance;
    symbol = static_cast<int16_t>(value);
    return symbol == value;
}

// Mirror of unfold for a symbol that is not among the row's: its index there is negative, or value_count at least.
inline uint32_t fold(int32_t index, uint32_t value_count) {
    return index < 0 ? static_cast<uint32_t>(-1 - index) << 1 | 1u : (static_cast<uint32_t>(index) - value_count) << 1;
}

// Collects words in the encoder's order, which is the decoder's backwards; the caller sees to the room. The functions
// below take anything with such a put_if.
struct WordWriter {
    uint16_t* next = nullptr;

    void put_if(bool is_due, uint32_t& state) {
        *next = static_cast<uint16_t>(state);
        next += is_due;
        state = is_due ? state >> 16 : state;
    }
};

template <typename Words>
inline void put_symbol(uint32_t& state, Words& words, const EncodeEntry& entry, int precision) {
    words.put_if(state >= static_cast<uint64_t>(entry.frequency) << (32 - precision), state);
    const auto quotient = static_cast<uint32_t>((state * entry.reciprocal) >> (32 + precision));
    state += entry.start + quotient * ((1u << precision) - entry.frequency);
}

template <typename Words>
inline void put_bits(uint32_t& state, Words& words, int bits, uint32_t value) {
    words.put_if(state >= uint64_t{1} << (32 - bits), state);
    state = state << bits | value;
}

// Mirror of get_escape: pushes the pieces in reverse.
template <typename Words>
inline void put_escape(uint32_t& state, Words& words, uint32_t folded) {
    const uint32_t shifted = (folded >> kEscapeOrder) + 1;
    int extra = 0;
    while (shifted >> (extra + 1)) ++extra;
    put_bits(state, words, kEscapeOrder, folded & ((1u << kEscapeOrder) - 1));
    put_bits(state, words, extra, shifted - (1u << extra));
    put_bits(state, words, 1, 1);
    for (int zero = 0; zero < extra; ++zero) put_bits(state, words, 1, 0);
}

}  // namespace rarefy
