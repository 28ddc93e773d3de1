// The coder's inner loops for any processor. None has a branch on what is a coin toss: whether a symbol is coded, which
// of two entries it is, whether a word is due.
#pragma once

#include "loops.h"
#include "rans.h"

namespace rarefy::plain {

constexpr uint32_t kLeastGroup = 8;

inline void find_coded(DecodeBlock& block, RowTable all, const uint16_t* rows, size_t count) {
    uint32_t coded = 0;
    for (size_t i = 0; i < count; ++i) {
        const Row& row = all.rows[rows[i]];
        block.lookups[coded] = row.lookup;
        block.rows[coded] = rows[i];
        coded += row.is_coded;
    }
    block.coded = coded;
}

inline void place(const DecodeBlock& block, const Row* all, const uint16_t* rows, size_t count, int16_t* symbols) {
    const int16_t* next = block.symbols;
    for (size_t i = 0; i < count; ++i) {
        const Row& row = all[rows[i]];
        const int32_t is_coded = -static_cast<int32_t>(row.is_coded);
        symbols[i] = static_cast<int16_t>((*next & is_coded) | (row.offset & ~is_coded));
        next += row.is_coded;
    }
}

template <uint32_t kLanes>
uint32_t decode_groups(DecodeState& state, const DecodeBlock& block, int16_t* symbols, uint32_t first, uint32_t end) {
    constexpr uint32_t kGroup = kLanes < kLeastGroup ? kLeastGroup : kLanes;
    const int precision = state.precision;
    const uint32_t mask = (1u << precision) - 1;
    const Bucket* buckets = state.buckets;
    const uint8_t* next = state.next;
    for (; first + kGroup <= end && next <= state.limit; first += kGroup) {
        uint32_t states[kLanes];
        for (uint32_t k = 0; k < kLanes; ++k) states[k] = state.states[k];
        Bucket found;
        bool is_escape = false;
#pragma GCC unroll 8
        for (uint32_t k = 0; k < kGroup; ++k) {
            const uint32_t x = states[k % kLanes], slot = x & mask, lookup = block.lookups[first + k];
            const Bucket* bucket = buckets + (lookup >> kLookupShiftBits) + (slot >> (lookup & 31));
            if (slot >= bucket->end) {
                found = scan(state, block.rows[first + k], slot, *bucket);
                bucket = &found;
                is_escape |= slot >= found.end;
            }
            const uint32_t is_upper = slot >= bucket->middle;
            const uint16_t* edges = &bucket->start + is_upper;
            symbols[first + k] = static_cast<int16_t>(static_cast<uint32_t>(bucket->symbol) + is_upper);
            const uint32_t low = edges[0];
            const uint32_t shorter = (edges[1] - low) * (x >> precision) + slot - low;
            const uint32_t is_due = shorter < kStateLow;
            const uint32_t word = next[0] | static_cast<uint32_t>(next[1]) << 8;
            states[k % kLanes] = shorter << (is_due << 4) | (word & (0 - is_due));
            next += 2 * is_due;
        }
        if (is_escape) break;
        for (uint32_t k = 0; k < kLanes; ++k) state.states[k] = states[k];
        state.next = next;
    }
    return first;
}

inline uint32_t decode_groups(DecodeState& state, const DecodeBlock& block, int16_t* symbols, uint32_t first,
                              uint32_t end) {
    switch (state.lanes) {
        case 1: return decode_groups<1>(state, block, symbols, first, end);
        case 2: return decode_groups<2>(state, block, symbols, first, end);
        case 4: return decode_groups<4>(state, block, symbols, first, end);
        case 8: return decode_groups<8>(state, block, symbols, first, end);
        case 16: return decode_groups<16>(state, block, symbols, first, end);
        default: return decode_groups<32>(state, block, symbols, first, end);
    }
}

inline bool find_entries(EncodeBlock& block, RowTable all, const uint16_t* rows, const int16_t* symbols, size_t count) {
    uint32_t coded = 0, outside = 0, wrong = 0;
    for (size_t i = 0; i < count; ++i) {
        const Row& row = all.rows[rows[i]];
        const auto index = static_cast<uint32_t>(symbols[i] - row.offset);
        const uint32_t is_outside = index >= row.value_count;
        block.entries[coded] = row.first_entry + (is_outside ? row.value_count : index);
        block.outside[outside] = {static_cast<uint16_t>(coded), static_cast<uint16_t>(i)};
        outside += is_outside & row.is_coded;
        wrong |= index & (row.is_coded - 1);
        coded += row.is_coded;
    }
    block.coded = coded;
    block.outside_count = outside;
    return wrong == 0;
}

template <uint32_t kLanes>
uint16_t* put_groups(const EncodeState& state, const uint32_t* entries, uint32_t begin, uint32_t end) {
    constexpr uint32_t kGroup = kLanes < kLeastGroup ? kLeastGroup : kLanes;
    const int precision = state.precision;
    uint16_t* next = state.next;
    uint32_t states[kLanes];
    for (uint32_t k = 0; k < kLanes; ++k) states[k] = state.states[k];
    for (; end > begin; end -= kGroup) {
#pragma GCC unroll 8
        for (uint32_t j = 1; j <= kGroup; ++j) {
            const EncodeEntry& entry = state.entries[entries[end - j]];
            uint32_t x = states[(kGroup - j) % kLanes];
            const uint32_t is_due = x >= static_cast<uint32_t>(entry.frequency) << (32 - precision);
            *next = static_cast<uint16_t>(x);
            next += is_due;
            x >>= is_due << 4;
            const auto quotient = static_cast<uint32_t>((x * entry.reciprocal) >> (32 + precision));
            states[(kGroup - j) % kLanes] = x + entry.start + quotient * ((1u << precision) - entry.frequency);
        }
    }
    for (uint32_t k = 0; k < kLanes; ++k) state.states[k] = states[k];
    return next;
}

inline uint16_t* put_groups(const EncodeState& state, const uint32_t* entries, uint32_t begin, uint32_t end) {
    switch (state.lanes) {
        case 1: return put_groups<1>(state, entries, begin, end);
        case 2: return put_groups<2>(state, entries, begin, end);
        case 4: return put_groups<4>(state, entries, begin, end);
        case 8: return put_groups<8>(state, entries, begin, end);
        case 16: return put_groups<16>(state, entries, begin, end);
        default: return put_groups<32>(state, entries, begin, end);
    }
}

inline constexpr Loops kLoops{"plain", 1, find_coded, place, decode_groups, find_entries, put_groups};

}  // namespace rarefy::plain
