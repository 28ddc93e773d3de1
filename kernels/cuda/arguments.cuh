// What the kernels are given. rarefy/kernels/cuda/arguments.py lays the same structures out; all pointers are the device's.
#pragma once

#include <cstdint>

#include "../rans.h"

namespace rarefy {

// A section has fewer symbols than this: with kEscapeSteps + 1 words each, its words can be counted in 32 bits.
constexpr int64_t kMostSymbols = int64_t{1} << 27;

// A fault beside those of Status: a section or a stream lies beyond its array. Only here are they told in memory.
constexpr auto kSectionRange = static_cast<Status>(10);

// Tables as one array of words that is copied to shared memory where it fits; rarefy/entropy/cuda_tables.py has both
// layouts.
struct TableWords {
    const uint32_t* words;
    uint32_t word_count;  // a multiple of 4
    uint32_t row_count;
    int32_t precision;
    uint32_t is_shared;
    double fewest_bits;
};

// A stream between two bursts.
struct StreamState {
    uint32_t states[kMaxLanes];
    int64_t first_word;  // where the words begin, in bytes from the first byte of all streams
    uint32_t word_count;
    uint32_t next_word;
    uint32_t lanes;
    uint32_t next_lane;  // of the next coded symbol
    int32_t status;
    uint32_t unused;
};

// Sections of symbols that lie one after the other: section i is [starts[i], starts[i + 1]).
struct Sections {
    const int64_t* starts;
    int64_t symbol_count;  // the length of the arrays, which no section may leave
    uint32_t count;
    uint32_t unused;
    uint32_t* next;  // the next section that nobody works on; 0 at first
};

struct OpenArguments {
    const uint8_t* bytes;
    const int64_t* starts;
    const int64_t* sizes;
    int64_t byte_count;
    StreamState* streams;
    uint32_t count;
    uint32_t unused;
};

struct FinishArguments {
    StreamState* streams;
    uint32_t count;
    uint32_t unused;
};

struct DecodeArguments {
    TableWords tables;
    Sections sections;
    const uint8_t* bytes;
    StreamState* streams;
    const void* rows;
    int16_t* symbols;
};

// Without `bytes` the streams are measured only: sizes and status are written, and read by the call that has `bytes`.
struct EncodeArguments {
    TableWords tables;
    Sections sections;
    const void* rows;
    const int16_t* symbols;
    int64_t* sizes;
    int32_t* status;
    uint8_t* bytes;
    const int64_t* stream_starts;  // odd, so that words lie at even addresses
    uint32_t lanes;
    uint32_t unused;
};

}  // namespace rarefy
