// The lattice bottleneck for a group of units in lockstep, for any instruction set: `Ops` has vectors of kWidth units, with
// two channels of each as 16-bit integers (Pairs) or one sum of each in 32 bits (Sums). lattice.h has the same for one
// unit; entropy/lattice_integers.py defines both.
#pragma once

#include <cstddef>
#include <cstdint>

#include "lattice_batch.h"

namespace rarefy {
namespace {

template <class Ops>
class Lockstep {
public:
    static void decode(LatticeGroup& group) { Lockstep(group).run(); }

private:
    using Sums = typename Ops::Sums;
    using Pairs = typename Ops::Pairs;
    static constexpr size_t kVectors = kUnits / Ops::kWidth;  // of a position

    explicit Lockstep(LatticeGroup& group) : g(group), pairs(group.pairs) {}

    LatticeGroup& g;
    size_t pairs;
    size_t step = 0, count = 0, first = 0, n = 0;  // the step, its positions, and the block of them that is at work
    const int32_t *own = nullptr, *near = nullptr;

    void run() {
        own = g.own;
        near = g.neighbours;
        for (step = 0; step < g.steps; ++step) {
            count = static_cast<size_t>(g.counts[step]);
            for (first = 0; first < count && g.streams->active; first += kPositions) {
                n = count - first < kPositions ? count - first : kPositions;
                for (size_t channel = 0; channel < g.channels; channel += kTogether) block(channel);
            }
            own += count;
            if (step) near += kNeighbours * count;
        }
    }

    void block(size_t channel) {
        const BlockWeights& weights = g.weights[step * ((g.channels + kTogether - 1) / kTogether) + channel / kTogether];
        for (size_t i = 0; i < n; i += kStrip) sum_strip(channel, weights, i);
        for (size_t c = channel; c < channel + kTogether && c < g.channels; ++c) {
            finish_sums(c, weights);
            Ops::decode_symbols(g, n);
            put(c);
        }
    }

    int16_t* plane(size_t position, size_t pair) const { return g.planes + (position * pairs + pair) * kPair; }
    int16_t* residual(size_t i, size_t pair) const { return g.residuals + (i * pairs + pair) * kPair; }
    int32_t* sums_of(size_t kind, size_t channel, size_t i) const {
        return g.sums + ((kind * kTogether + channel % kTogether) * kPositions + i) * kUnits;
    }
    size_t place(size_t i) const { return static_cast<size_t>(i < n ? own[first + i] : int32_t(g.positions)); }

    int16_t* feature(size_t number, size_t of_strip) const { return g.features + (number * kStrip + of_strip) * kPair; }

    // Sums over all that is known before a block of channels, for a strip of positions.
    void sum_strip(size_t channel, const BlockWeights& weights, size_t i) {
        const size_t before = channel / 2, around = step ? kNeighbours * pairs : 0;
        const size_t means = around + before, scales = step ? around + around / 2 + before : before;
        for (size_t s = 0; s < kStrip; ++s) {
            if (step) take_around(i + s, s, means);
            for (size_t j = 0; j < before; ++j) {
                const int16_t *here = plane(place(i + s), j), *apart = residual(i + s, j);
                copy<true>(here, feature(around + j, s));
                copy<false>(apart, feature(means + scales - before + j, s));
            }
        }
        int32_t starts[kTogether] = {}, zeros[kTogether] = {};
        for (size_t c = 0; c < kTogether && channel + c < g.channels; ++c)
            starts[c] = g.start[step * g.channels + channel + c];
        add_up(feature(0, 0), means, weights.means, zeros, sums_of(0, channel, i));
        add_up(feature(means, 0), scales, weights.scales, starts, sums_of(1, channel, i));
    }

    template <bool kIsClipped>
    static void copy(const int16_t* from, int16_t* to) {
        for (size_t v = 0; v < kVectors; ++v) {
            const Pairs pair = Ops::load(from + 2 * v * Ops::kWidth);
            Ops::store(to + 2 * v * Ops::kWidth, kIsClipped ? Ops::clip(pair) : pair);
        }
    }

    // Neighbours of a position as features: clipped, their magnitudes behind `means`, then differences of opposite ones.
    void take_around(size_t i, size_t s, size_t means) {
        const size_t sizes = means, apart = means + kNeighbours * pairs;
        for (size_t k = 0; k < kNeighbours; k += 2) {
            const size_t one = i < n ? static_cast<size_t>(near[k * count + first + i]) : g.positions;
            const size_t other = i < n ? static_cast<size_t>(near[(k + 1) * count + first + i]) : g.positions;
            for (size_t j = 0; j < pairs; ++j) {
                for (size_t v = 0; v < kVectors; ++v) {
                    const size_t at = 2 * v * Ops::kWidth;
                    const Pairs left = Ops::clip(Ops::load(plane(one, j) + at));
                    const Pairs right = Ops::clip(Ops::load(plane(other, j) + at));
                    Ops::store(feature(k * pairs + j, s) + at, left);
                    Ops::store(feature((k + 1) * pairs + j, s) + at, right);
                    Ops::store(feature(sizes + k * pairs + j, s) + at, Ops::magnitude(left));
                    Ops::store(feature(sizes + (k + 1) * pairs + j, s) + at, Ops::magnitude(right));
                    Ops::store(feature(apart + k / 2 * pairs + j, s) + at, Ops::magnitude(Ops::subtract(left, right)));
                }
            }
        }
    }

    // Sums of a strip for kTogether channels: a tile of vectors stays in registers over all features.
    static void add_up(const int16_t* features, size_t terms, const int32_t* weights, const int32_t* starts, int32_t* out) {
        constexpr size_t kTile = Ops::kTile, kAll = kStrip * kVectors;
        static_assert(kAll % kTile == 0, "tiles fill a strip");
        for (size_t v = 0; v < kAll; v += kTile) {
            Sums sums[kTogether][kTile];
            for (size_t c = 0; c < kTogether; ++c)
                for (size_t t = 0; t < kTile; ++t) sums[c][t] = Ops::all(starts[c]);
            const int16_t* at = features + 2 * v * Ops::kWidth;
            for (size_t term = 0; term < terms; ++term, at += kStrip * kPair) {
                Pairs some[kTile];
                for (size_t t = 0; t < kTile; ++t) some[t] = Ops::load(at + 2 * t * Ops::kWidth);
                for (size_t c = 0; c < kTogether; ++c) {
                    const Pairs weight = Ops::all_pairs(weights[term * kTogether + c]);
                    for (size_t t = 0; t < kTile; ++t) sums[c][t] = Ops::dot(sums[c][t], some[t], weight);
                }
            }
            for (size_t c = 0; c < kTogether; ++c)
                for (size_t t = 0; t < kTile; ++t)
                    Ops::store_sums(out + c * kPositions * kUnits + (v + t) * Ops::kWidth, sums[c][t]);
        }
    }

    // Add what the channels of the block before this one say; means in eighths of a step, and rows.
    void finish_sums(size_t c, const BlockWeights& weights) {
        const size_t number = c % kTogether, inside = (number + 1) / 2, begin = c / kTogether * kTogether / 2;
        for (size_t i = 0; i < n; ++i) {
            const size_t here = place(i);
            for (size_t v = 0; v < kVectors; ++v) {
                const size_t at = v * Ops::kWidth;
                Sums mean = Ops::load_sums(sums_of(0, c, i) + at), scale = Ops::load_sums(sums_of(1, c, i) + at);
                for (size_t j = 0; j < inside; ++j) {
                    const Pairs seen = Ops::clip(Ops::load(plane(here, begin + j) + 2 * at));
                    mean = Ops::dot(mean, seen, Ops::all_pairs(weights.means_inside[kInside * number + j]));
                    const Pairs apart = Ops::load(residual(i, begin + j) + 2 * at);
                    scale = Ops::dot(scale, apart, Ops::all_pairs(weights.scales_inside[kInside * number + j]));
                }
                Ops::finish(mean, scale, g, g.means + i * kUnits + at, g.rows + i * kUnits + at);
            }
        }
    }

    // Latents from symbols, and how far they are from their means. Those beyond 16 bits end their unit.
    void put(size_t c) {
        uint32_t misfits = 0;
        for (size_t i = 0; i < n; ++i)
            for (size_t v = 0; v < kVectors; ++v) {
                const size_t at = v * Ops::kWidth, from = i * kUnits + at;
                misfits |= Ops::put(g.symbols + from, g.means + from, plane(place(i), c / 2) + 2 * at,
                                    residual(i, c / 2) + 2 * at, c % 2 != 0)
                           << at;
            }
        misfits &= g.streams->active;
        g.streams->active &= ~misfits;
        for (size_t u = 0; u < kUnits; ++u)
            if (misfits >> u & 1) g.streams->status[u] = Status::escape_range;
    }
};

// Streams that took words beyond their end are cut: to be told after every kPositions symbols at the latest. Streams
// with a fault go on with zeros.
inline void end_truncated(LockstepStreams& streams) {
    for (size_t u = 0; u < kUnits; ++u) {
        if (streams.next[u] <= streams.ends[u] && streams.active >> u & 1) continue;
        if (streams.active >> u & 1) streams.status[u] = Status::truncated;
        streams.active &= ~(1u << u);
        streams.next[u] = streams.ends[u];
    }
}

// Decode `n` symbols of each stream under rows [n, kUnits], stream after stream.
inline void decode_scalar(LatticeGroup& group, size_t n) {
    LockstepStreams& streams = *group.streams;
    const LockstepTables tables = group.tables;
    const int precision = tables.precision, shift = precision - kBucketBits;
    const uint32_t mask = (1u << precision) - 1;
    const uint8_t* bytes = streams.bytes;
    for (size_t i = 0; i < n; ++i) {
        const uint16_t* rows = group.rows + i * kUnits;
        int16_t* symbols = group.symbols + i * kUnits;
        uint32_t* states = streams.states[streams.lane];
        uint32_t missed = 0;
        for (size_t u = 0; u < kUnits; ++u) {
            const uint32_t x = states[u], slot = x & mask;
            const Bucket* bucket = tables.buckets + ((size_t{rows[u]} << kBucketBits) + (slot >> shift));
            const uint32_t is_upper = slot >= bucket->middle;
            const uint16_t* edges = &bucket->start + is_upper;
            symbols[u] = static_cast<int16_t>(static_cast<uint32_t>(bucket->symbol) + is_upper);
            const uint32_t low = edges[0];
            const uint32_t shorter = (edges[1] - low) * (x >> precision) + slot - low;
            const uint32_t is_missed = slot >= bucket->end, is_due = (shorter < kStateLow) & (is_missed ^ 1u);
            const uint8_t* next = bytes + streams.next[u];
            const uint32_t word = next[0] | static_cast<uint32_t>(next[1]) << 8;
            missed |= is_missed << u;
            states[u] = is_missed ? x : shorter << (is_due << 4) | (word & (0 - is_due));
            streams.next[u] += 2 * is_due;
        }
        if (missed & streams.active)
            group.decode_missed(streams, tables, missed & streams.active, streams.lane, rows, symbols);
        streams.lane = (streams.lane + 1) & (streams.lanes - 1);
    }
    end_truncated(streams);
}

// Latents of the positions from `first` to `end` out of the planes.
inline void take_positions(const LatticeGroup& group, int16_t* const* latents, size_t first, size_t end) {
    for (size_t u = 0; u < kUnits; ++u)
        for (size_t c = 0; latents[u] && c < group.channels; ++c) {
            const int16_t* from = group.planes + c / 2 * kPair + 2 * u + c % 2;
            int16_t* to = latents[u] + c * group.positions;
            for (size_t p = first; p < end; ++p) to[p] = from[p * group.pairs * kPair];
        }
}

inline void take_scalar(const LatticeGroup& group, int16_t* const* latents) {
    constexpr size_t kSome = 32;  // positions whose planes stay in the first-level cache
    for (size_t p = 0; p < group.positions; p += kSome)
        take_positions(group, latents, p, p + kSome < group.positions ? p + kSome : group.positions);
}

}  // namespace
}  // namespace rarefy
