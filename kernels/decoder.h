// The decoding loop. A stream may be read in several bursts; it is treated as hostile throughout.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "rans.h"
#include "tables.h"

namespace rarefy {

constexpr size_t kBlock = 2048;  // rows looked at before their symbols: small enough to stay in the first-level cache

inline size_t count_coded(const PackedTables& tables, const uint16_t* rows, size_t count) {
    size_t coded = 0;
    for (size_t i = 0; i < count; ++i) coded += tables.rows[rows[i]].is_coded;
    return coded;
}

inline bool rows_are_valid(const PackedTables& tables, const uint16_t* rows, size_t count) {
    uint16_t largest = 0;
    for (size_t i = 0; i < count; ++i) largest = std::max(largest, rows[i]);
    return count == 0 || largest < tables.rows.size();
}

class StreamDecoder {
public:
    // `data` must outlive the decoder.
    StreamDecoder(const uint8_t* data, size_t size) : status_(open(data, size)) {}

    Status status() const { return status_; }

    // Tell whether symbols under these rows may follow, before anybody makes room for them.
    Status admit(const PackedTables& tables, const uint16_t* rows, size_t count) const {
        if (status_ != Status::ok) return status_;
        if (!rows_are_valid(tables, rows, count)) return Status::row_range;
        return can_hold(tables, rows, count) ? Status::ok : Status::too_many_symbols;
    }

    // After a failure every further call fails the same way.
    Status decode(const PackedTables& tables, const uint16_t* rows, size_t count, int16_t* symbols) {
        const Status admitted = admit(tables, rows, count);
        if (admitted != Status::ok) return admitted;
        for (size_t start = 0; start < count && status_ == Status::ok; start += kBlock)
            status_ = decode_block(tables, rows + start, std::min(kBlock, count - start), symbols + start);
        return status_;
    }

    Status finish() const {
        if (status_ != Status::ok) return status_;
        if (!words_.is_empty()) return Status::words_left;
        const bool at_start = std::all_of(states_, states_ + lanes_, [](uint32_t state) { return state == kStateLow; });
        return at_start ? Status::ok : Status::state_end;
    }

private:
    Status open(const uint8_t* data, size_t size) {
        if (size < 1) return Status::truncated;
        if (data[0] > kLongestLanesCode) return Status::lanes_reserved;
        lanes_ = 1u << data[0];
        const size_t header = 1 + 4 * size_t{lanes_};
        if (size < header || (size - header) % 2 != 0) return Status::truncated;
        for (uint32_t lane = 0; lane < lanes_; ++lane) {
            const uint8_t* bytes = data + 1 + 4 * size_t{lane};
            states_[lane] = static_cast<uint32_t>(bytes[0]) | static_cast<uint32_t>(bytes[1]) << 8 |
                            static_cast<uint32_t>(bytes[2]) << 16 | static_cast<uint32_t>(bytes[3]) << 24;
            if (states_[lane] < kStateLow) return Status::state_range;
        }
        words_ = {data + header, data + size};
        return Status::ok;
    }

    // A word adds at most 17 bits to a state (x << 16 | word < (x + 1) << 16 with x >= 1), a lane starts with at most 16
    // above its end; the hundredth more is for rounding in fewest_bits.
    bool can_hold(const PackedTables& tables, const uint16_t* rows, size_t count) const {
        const double most = 1.01 * (17.0 * static_cast<double>(words_.count()) + 16.0 * lanes_) / tables.fewest_bits;
        if (static_cast<double>(count) <= most) return true;
        return static_cast<double>(count_coded(tables, rows, count)) <= most;
    }

    Status decode_block(const PackedTables& tables, const uint16_t* rows, size_t count, int16_t* symbols) {
        uint16_t positions[kBlock];
        uint32_t coded = 0;
        for (size_t i = 0; i < count; ++i) {  // without branches on what is coded, which is a coin toss
            const Row& row = tables.rows[rows[i]];
            symbols[i] = row.offset;
            positions[coded] = static_cast<uint16_t>(i);
            coded += row.is_coded;
        }
        const int precision = tables.precision;
        const uint32_t mask = (1u << precision) - 1;
        const uint32_t lane_mask = lanes_ - 1;
        uint32_t lane = next_lane_;
        WordReader words = words_;
        for (uint32_t i = 0; i < coded; ++i) {
            const uint16_t position = positions[i];
            const Row& row = tables.rows[rows[position]];
            uint32_t state = states_[lane];
            const uint32_t slot = state & mask;
            const DecodeEntry& entry = tables.find(row, slot);
            state = entry.frequency * (state >> precision) + slot - entry.start;
            symbols[position] = entry.symbol;
            if (words.is_empty()) {
                if (state < kStateLow) return Status::truncated;
            } else {  // without a branch on the state, which is a coin toss
                const uint32_t longer = state << 16 | words.peek();
                words.next += state < kStateLow ? 2 : 0;
                state = state < kStateLow ? longer : state;
            }
            if (entry.is_escape) {
                const Status status = decode_escape(row, state, words, symbols[position]);
                if (status != Status::ok) return status;
            }
            states_[lane] = state;
            lane = (lane + 1) & lane_mask;
        }
        words_ = words;
        next_lane_ = lane;
        return Status::ok;
    }

    static Status decode_escape(const Row& row, uint32_t& state, WordReader& words, int16_t& symbol) {
        uint32_t folded = 0;
        const Status status = get_escape(state, words, folded);
        if (status != Status::ok) return status;
        const auto distance = static_cast<int32_t>(folded >> 1);
        const int32_t value = folded & 1 ? row.offset - 1 - distance
                                         : row.offset + static_cast<int32_t>(row.value_count) + distance;
        if (value < INT16_MIN || value > INT16_MAX) return Status::escape_range;
        symbol = static_cast<int16_t>(value);
        return Status::ok;
    }

    uint32_t lanes_ = 1;
    uint32_t next_lane_ = 0;
    uint32_t states_[kMaxLanes] = {};
    WordReader words_;
    Status status_;
};

}  // namespace rarefy
