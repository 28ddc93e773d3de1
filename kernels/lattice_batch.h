// Many units of one shape, decoded side by side: what the loops of each instruction set are given (lattice_lockstep.h), and
// what they share. Unit u is element u of every vector, so that nothing is gathered but tables, and streams that each
// wait for their own state wait together.
//
// Files of different compiler flags share no functions: this one has only what they are given.
#pragma once

#include <cstddef>
#include <cstdint>

#include "loops.h"
#include "rans.h"

namespace rarefy {

constexpr int kFractionBits = 3, kMeanBits = 7, kSubOctaveBits = 2;
constexpr int32_t kLargestSeen = 2047, kLargestResidual = 16383;
constexpr size_t kNeighbours = 4;
constexpr size_t kPositions = 256;  // of a unit and step, all channels of which come before the next: LATTICE.md

constexpr size_t kUnits = 16;         // of a group
constexpr size_t kPair = 2 * kUnits;  // two channels of all units at one position, unit by unit
constexpr size_t kTogether = 6;       // channels whose sums over what is known before them are made at once
constexpr size_t kInside = kTogether / 2;  // pairs of these
constexpr size_t kStrip = 4;          // positions, likewise
constexpr int kBucketBits = 7;
constexpr size_t kPadding = 2 * kPositions + 4;  // bytes behind a stream: a word for each position, and a last look

// A group's streams, each with as many lanes.
struct LockstepStreams {
    alignas(64) uint32_t states[kMaxLanes][kUnits];
    alignas(64) uint32_t next[kUnits];  // where in `bytes` the next word of each is
    alignas(64) uint32_t ends[kUnits];  // zeros follow there, kPadding of them
    const uint8_t* bytes;
    uint32_t lanes, lane;  // lane: of the symbol to come
    uint32_t active;       // a bit for each stream without a fault
    Status status[kUnits];
};

// Tables as the loops look entries up: tables.h.
struct LockstepTables {
    const Bucket* buckets;  // 2^kBucketBits of each row
    int precision;
    const void* all;  // the PackedTables, for decode_missed
};

// Decode one symbol of each stream in `missed`, from state `lane`: those that a bucket leaves open, and escapes. Faults end
// a stream: it is not active any more.
using DecodeMissed = void (*)(LockstepStreams& streams, const LockstepTables& tables, uint32_t missed, uint32_t lane,
                              const uint16_t* rows, int16_t* symbols);

// Weights of two features each, the lower half for the first: [feature pair][kTogether]. Feature pairs of means: those of
// neighbours, then of the channels before at the position; of scales: magnitudes, differences, residuals before.
struct BlockWeights {
    const int32_t *means, *scales;
    // Of channels inside the block: [kTogether][kInside].
    const int32_t *means_inside, *scales_inside;
};

struct LatticeGroup {
    size_t channels, pairs, steps, positions;
    const int32_t *own, *neighbours, *counts;  // lattice.h, Geometry
    const int32_t* start;                      // [steps, channels]
    const BlockWeights* weights;               // [steps, blocks of kTogether channels]
    int32_t least, most, first_index;
    LockstepTables tables;
    LockstepStreams* streams;
    DecodeMissed decode_missed;
    // Room, aligned to 64 bytes. planes: [positions + 1, pairs, kUnits, 2], zeros, the latents when all is done; residuals:
    // [kPositions, pairs, kUnits, 2]; features: [kMostFeatures(pairs), kStrip, kUnits, 2]; sums: [2, kTogether,
    // kPositions, kUnits]; means, rows, symbols: [kPositions, kUnits].
    int16_t *planes, *residuals, *features;
    int32_t *sums, *means;
    uint16_t* rows;
    int16_t* symbols;
};

constexpr size_t kMostFeatures(size_t pairs) { return 12 * pairs; }

// The loops of one instruction set.
struct LatticeLoops {
    const char* name;
    size_t fewest;  // units that are worth a group, which takes as long however few it has
    // Decode a group's latents into its planes.
    void (*decode)(LatticeGroup& group);
    // Bring the latents [channels, positions] of each unit out of them; a unit without a place for them is left out.
    void (*take)(const LatticeGroup& group, int16_t* const* latents);
};

}  // namespace rarefy
