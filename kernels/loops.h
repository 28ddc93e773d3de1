// What the coder's inner loops work on, and which loops there are. Functions
// here belong to each file that includes this one: it is compiled for several processors, and a linker that finds one
// function twice keeps either.
#pragma once

#include <cstddef>
#include <cstdint>

#include "rans.h"

namespace rarefy {

constexpr size_t kBlock = 2048;  // symbols of one pass: its arrays stay in the first-level cache
constexpr size_t kSlack = 32;    // elements that a loop may write beyond those it was asked for
constexpr int kLookupShiftBits = 5;

// A stretch of a row's slots as the decoder looks it up: slots of [start, middle) hold `symbol`, those of [middle, end)
// the next one. Any other slot of the stretch, and every escape, has to be found by a scan.
struct Bucket {
    uint16_t start, middle, end;
    int16_t symbol;
};

struct Row {
    uint32_t first_entry;  // into the entries of decoding and encoding
    uint32_t lookup;       // first bucket << kLookupShiftBits | right shift from slot to bucket; 0 for certain rows
    uint16_t value_count;  // entries without the escape; 0 for certain rows
    int16_t offset;
    uint32_t is_coded;
};

struct RowTable {
    const Row* rows;
    size_t count;
};

// A symbol outside of its row: which coded symbol of the block it is, and which of all.
struct Outside {
    uint16_t number, position;
};

// The coded symbols of a block to decode, the others left out.
struct DecodeBlock {
    uint32_t coded;
    uint32_t lookups[kBlock + kSlack];
    uint16_t rows[kBlock + kSlack];
    int16_t symbols[kBlock + kSlack];
    uint16_t marks[kBlock];  // between find_coded and place of the same loops
};

// What decode_groups goes on with and comes back with.
struct DecodeState {
    const Row* all;
    const Bucket* buckets;
    const DecodeEntry* entries;
    const uint8_t* next;    // word to take
    const uint8_t* limit;   // the last place that a group may begin at: 32 words can be read from there
    uint32_t* states;       // of the lane of coded symbol i at i % lanes
    uint32_t lanes;
    int precision;
};

struct EncodeBlock {
    uint32_t coded, outside_count;
    uint32_t entries[kBlock + kSlack];  // of each coded symbol; the row's last one where it is outside
    Outside outside[kBlock + 1];
};

struct EncodeState {
    const EncodeEntry* entries;
    const uint64_t* packed_entries;  // the same in eight bytes
    uint16_t* next;
    uint32_t* states;
    uint32_t lanes;
    int precision;
};

// An entry in eight bytes: reciprocal << 30 | frequency << 15 | start. With l = ceil(log2(frequency)) the reciprocal is
// ceil(2^k / frequency) for k = 2 l + 32 - precision, at most 2^33, and state / frequency = (state * reciprocal) >> k for
// every state below frequency << (32 - precision): its error, state / 2^k, is below 1 / frequency then, and the product
// below 2^64.
constexpr int kPackedReciprocalShift = 30, kPackedFrequencyShift = 15;

// All the loops of one instruction set.
struct Loops {
    const char* name;
    uint32_t least_lanes;  // decode_groups and put_groups are for so many lanes at least

    // Fill a block with the coded symbols among `count`, at most kBlock.
    void (*find_coded)(DecodeBlock& block, RowTable all, const uint16_t* rows, size_t count);
    // Put the decoded symbols of a block in their places, and those of certain rows in between.
    void (*place)(const DecodeBlock& block, const Row* all, const uint16_t* rows, size_t count, int16_t* symbols);
    // Decode groups of `lanes` symbols, eight at least, from number `first` to `end`. Returns where it stopped: when less
    // than a group is left, when `next` is beyond `limit`, or before a group that holds an escape.
    uint32_t (*decode_groups)(DecodeState& state, const DecodeBlock& block, int16_t* symbols, uint32_t first,
                              uint32_t end);

    // As find_coded, with entries; false if a symbol is not the one that its row is certain of.
    bool (*find_entries)(EncodeBlock& block, RowTable all, const uint16_t* rows, const int16_t* symbols, size_t count);
    // Encode entries `begin` to `end`, both multiples of a group, from the last to the first. Gives the next free word.
    // Words may be written beyond it, kSlack at most.
    uint16_t* (*put_groups)(const EncodeState& state, const uint32_t* entries, uint32_t begin, uint32_t end);
};

namespace {

// The entry of a slot that its bucket leaves open, as a bucket of its own; the same bucket if it is the escape.
inline Bucket scan(const DecodeState& state, uint16_t row_index, uint32_t slot, Bucket bucket) {
    const Row& row = state.all[row_index];
    const DecodeEntry* entry = state.entries + row.first_entry + static_cast<uint16_t>(bucket.symbol - row.offset);
    while (slot - entry->start >= entry->frequency) ++entry;
    const auto end = static_cast<uint16_t>(entry->start + entry->frequency);
    return entry->is_escape ? bucket : Bucket{entry->start, end, end, entry->symbol};
}

}  // namespace

}  // namespace rarefy
