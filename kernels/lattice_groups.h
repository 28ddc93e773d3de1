// Batches of units as groups that are decoded in lockstep: what lattice_batch.h wants to be given, and its slow path.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <new>
#include <utility>
#include <vector>

#include "lattice.h"
#include "lattice_batch.h"

namespace rarefy {

constexpr size_t kLongestInLockstep = 1 << 26;  // bytes: places in a group's streams have 32 bits

// Room on its own cache lines.
template <class T>
class Aligned {
public:
    explicit Aligned(size_t count) : data_(static_cast<T*>(::operator new(count * sizeof(T), kAlignment))), count_(count) {}
    Aligned(const Aligned&) = delete;
    Aligned& operator=(const Aligned&) = delete;
    ~Aligned() { ::operator delete(data_, kAlignment); }
    T* get() const { return data_; }
    T* zeroed() const { return static_cast<T*>(std::memset(data_, 0, count_ * sizeof(T))); }

private:
    static constexpr std::align_val_t kAlignment{64};
    T* data_;
    size_t count_;
};

// A unit to decode: its stream, and where its latents [channels, positions] and its status go.
struct LatticeUnit {
    const uint8_t* data;
    size_t size;
    int16_t* latents;
    Status* status;
};

inline void decode_missed(LockstepStreams& streams, const LockstepTables& given, uint32_t missed, uint32_t lane,
                          const uint16_t* rows, int16_t* symbols) {
    const auto& tables = *static_cast<const PackedTables*>(given.all);
    for (uint32_t u = 0; u < kUnits; ++u) {
        if (!(missed >> u & 1)) continue;
        WordReader words{streams.bytes + streams.next[u], streams.bytes + streams.ends[u]};
        const Status status = words.next > words.end
                                  ? Status::truncated
                                  : decode_symbol(tables, tables.rows[rows[u]], streams.states[lane][u], words, symbols[u]);
        streams.next[u] = static_cast<uint32_t>((status == Status::ok ? words.next : words.end) - streams.bytes);
        if (status == Status::ok) continue;
        streams.active &= ~(1u << u);
        streams.status[u] = status;
    }
}

// The weights and tables of a model as groups want them.
class LatticeGroups {
public:
    // terms: step by step, in each channel by channel.
    LatticeGroups(const PackedTables& tables, const std::vector<ChannelTerms>& terms, size_t channels, int32_t least,
                  int32_t most, int32_t first_index)
        : tables_(&tables), channels_(channels), pairs_((channels + 1) / 2), steps_(terms.size() / channels),
          least_(least), most_(most), first_index_(first_index) {
        for (size_t step = 0; step < steps_; ++step)
            for (size_t channel = 0; channel < channels; channel += kTogether)
                add_block(&terms[step * channels], step, channel);
        const int32_t* at = weights_.data();
        for (const auto& sizes : sizes_) {
            BlockWeights block;
            for (auto [part, size] : {std::pair{&block.means, sizes[0]}, {&block.scales, sizes[1]},
                                      {&block.means_inside, kTogether * kInside}, {&block.scales_inside, kTogether * kInside}}) {
                *part = at;
                at += size;
            }
            blocks_.push_back(block);
        }
    }

    // Decode up to kUnits units, whose streams have as many lanes, by the loops of an instruction set.
    void decode(const LatticeLoops& loops, const LatticeUnit* units, size_t count, const Geometry& geometry,
                const int32_t* start) const {
        LockstepStreams streams;
        const std::vector<uint8_t> bytes = open(streams, units, count);
        const size_t rows = kPositions * kUnits;
        const Aligned<int16_t> planes((geometry.positions + 1) * pairs_ * kPair), residuals(kPositions * pairs_ * kPair);
        const Aligned<int16_t> features(kMostFeatures(pairs_) * kStrip * kPair), symbols(rows);
        const Aligned<int32_t> sums(2 * kTogether * rows), means(rows);
        const Aligned<uint16_t> row_room(rows);
        LatticeGroup group{channels_, pairs_, steps_, geometry.positions, geometry.own, geometry.neighbours,
                           geometry.counts, start, blocks_.data(), least_, most_, first_index_,
                           {tables_->buckets.data(), tables_->precision, tables_},
                           &streams, &decode_missed, planes.zeroed(), residuals.zeroed(), features.get(),
                           sums.get(), means.get(), row_room.get(), symbols.get()};
        loops.decode(group);
        int16_t* latents[kUnits] = {};
        for (size_t u = 0; u < count; ++u) {
            *units[u].status = finish(streams, u);
            if (*units[u].status == Status::ok) latents[u] = units[u].latents;
        }
        loops.take(group, latents);
    }

private:
    // Append the weights of a block of channels: of pairs of features, for each of its channels.
    void add_block(const ChannelTerms* terms, size_t step, size_t channel) {
        const size_t before = channel / 2, around = step ? kNeighbours * pairs_ : 0;
        const size_t means = around + before, scales = step ? around + around / 2 + before : before;
        std::vector<int32_t> mean_weights(means * kTogether), scale_weights(scales * kTogether);
        std::vector<int32_t> mean_inside(kTogether * kInside), scale_inside(mean_inside);
        for (size_t c = channel; c < std::min(channel + kTogether, channels_); ++c) {
            const size_t number = c - channel;
            const auto spread = [&](const std::vector<Term>& from, std::vector<int32_t>& to, size_t first) {
                for (const Term& term : from)
                    add_weight(to[(first + term.row / channels_ * pairs_ + term.row % channels_ / 2) * kTogether + number],
                               term.row % channels_, term.weight);
            };
            const auto spread_across = [&](const std::vector<Term>& from, std::vector<int32_t>& to, size_t first,
                                           std::vector<int32_t>& inside) {
                for (const Term& term : from) {
                    if (term.row >= c) continue;  // never: what comes later has no weights
                    int32_t& weight = term.row < channel ? to[(first + term.row / 2) * kTogether + number]
                                                         : inside[kInside * number + (term.row - channel) / 2];
                    add_weight(weight, term.row, term.weight);
                }
            };
            if (step) {
                spread(terms[c].means, mean_weights, 0);
                spread(terms[c].scales, scale_weights, 0);
                spread(terms[c].differences, scale_weights, around);
            }
            spread_across(terms[c].means_across, mean_weights, around, mean_inside);
            spread_across(terms[c].scales_across, scale_weights, scales - before, scale_inside);
        }
        for (const auto* part : {&mean_weights, &scale_weights, &mean_inside, &scale_inside})
            weights_.insert(weights_.end(), part->begin(), part->end());
        sizes_.push_back({mean_weights.size(), scale_weights.size()});
    }

    // The lower half is for the first channel of a pair.
    static void add_weight(int32_t& both, size_t channel, int16_t weight) {
        const auto half = static_cast<uint32_t>(static_cast<uint16_t>(weight));
        both = static_cast<int32_t>(static_cast<uint32_t>(both) | (channel % 2 ? half << 16 : half));
    }

    // Begin a group's streams; returns their bytes, with zeros behind each. Places without a unit are not active.
    static std::vector<uint8_t> open(LockstepStreams& streams, const LatticeUnit* units, size_t count) {
        std::vector<uint8_t> bytes;
        streams.lanes = 1u << units[0].data[0];
        streams.lane = streams.active = 0;
        const size_t header = 1 + 4 * size_t{streams.lanes};
        for (size_t u = 0; u < kUnits; ++u) {
            streams.status[u] = Status::ok;
            const StreamDecoder stream(u < count ? units[u].data : nullptr, u < count ? units[u].size : 0);
            for (uint32_t lane = 0; lane < kMaxLanes; ++lane) streams.states[lane][u] = kStateLow;
            streams.next[u] = static_cast<uint32_t>(bytes.size());
            if (u < count && stream.status() == Status::ok) {
                stream.copy_states(&streams.states[0][u], kUnits);
                bytes.insert(bytes.end(), units[u].data + header, units[u].data + units[u].size);
                streams.active |= 1u << u;
            } else if (u < count) {
                streams.status[u] = stream.status();
            }
            streams.ends[u] = static_cast<uint32_t>(bytes.size());
            bytes.resize(bytes.size() + kPadding);
        }
        streams.bytes = bytes.data();
        return bytes;
    }

    static Status finish(const LockstepStreams& streams, size_t u) {
        if (streams.status[u] != Status::ok) return streams.status[u];
        if (streams.next[u] != streams.ends[u]) return Status::words_left;
        for (uint32_t lane = 0; lane < streams.lanes; ++lane)
            if (streams.states[lane][u] != kStateLow) return Status::state_end;
        return Status::ok;
    }

    const PackedTables* tables_;
    size_t channels_, pairs_, steps_;
    int32_t least_, most_, first_index_;
    std::vector<int32_t> weights_;
    std::vector<std::array<size_t, 2>> sizes_;
    std::vector<BlockWeights> blocks_;
};

}  // namespace rarefy
