// The decoding loop. A stream may be read in several bursts; it is treated as hostile throughout.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "loops.h"
#include "loops_plain.h"
#include "rans.h"
#include "tables.h"
#include "views.h"

namespace rarefy {

inline size_t count_coded(const PackedTables& tables, RowView rows, size_t count) {
    if (!tables.has_certain) return count;
    size_t coded = 0;
    rows.walk(count, [&](size_t row) { coded += tables.rows[row].is_coded; });
    return coded;
}

inline bool rows_are_valid(const PackedTables& tables, RowView rows, size_t count) {
    return count == 0 || rows.largest(count) < tables.rows.size();
}

inline Status decode_escape(const Row& row, uint32_t& state, WordReader& words, int16_t& symbol) {
    uint32_t folded = 0;
    const Status status = get_escape(state, words, folded);
    if (status != Status::ok) return status;
    return unfold(folded, row.offset, row.value_count, symbol) ? Status::ok : Status::escape_range;
}

// Any symbol of a lane, with its words and those of its escape.
inline Status decode_symbol(const PackedTables& tables, const Row& row, uint32_t& state, WordReader& words,
                            int16_t& symbol) {
    const uint32_t slot = state & ((1u << tables.precision) - 1);
    const DecodeEntry& entry = tables.find(row, slot);
    state = without_entry(state, entry.frequency, entry.start, tables.precision);
    if (!refill(state, words)) return Status::truncated;
    symbol = entry.symbol;
    return entry.is_escape ? decode_escape(row, state, words, symbol) : Status::ok;
}

class StreamDecoder {
public:
    // `data` must outlive the decoder.
    StreamDecoder(const uint8_t* data, size_t size, const Loops& loops = plain::kLoops)
        : loops_(&loops), status_(open(data, size)) {}

    StreamDecoder(const StreamDecoder&) = delete;  // it may point into itself
    StreamDecoder& operator=(const StreamDecoder&) = delete;

    Status status() const { return status_; }

    // The states that a stream begins with, lane by lane, `stride` numbers apart.
    void copy_states(uint32_t* out, size_t stride) const {
        for (uint32_t lane = 0; lane < lanes_; ++lane) out[lane * stride] = states_[lane];
    }

    // Tell whether symbols under these rows may follow, before anybody makes room for them.
    Status admit(const PackedTables& tables, RowView rows, size_t count) const {
        if (status_ != Status::ok) return status_;
        if (!rows_are_valid(tables, rows, count)) return Status::row_range;
        return can_hold(tables, rows, count) ? Status::ok : Status::too_many_symbols;
    }

    // After a failure every further call fails the same way.
    Status decode(const PackedTables& tables, RowView rows, size_t count, SymbolSink symbols) {
        const Status admitted = admit(tables, rows, count);
        if (admitted != Status::ok) return admitted;
        uint16_t row_room[kBlock];
        int16_t symbol_room[kBlock];
        for (size_t start = 0; start < count && status_ == Status::ok; start += kBlock) {
            const size_t size = std::min(kBlock, count - start);
            int16_t* out = symbols.block(start, symbol_room);
            status_ = decode_block(tables, rows.block(start, size, row_room), size, out);
            symbols.put(start, size, out);
        }
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
        if (lanes_ < loops_->least_lanes) loops_ = &plain::kLoops;
        return Status::ok;
    }

    // A word adds at most 17 bits to a state (x << 16 | word < (x + 1) << 16 with x >= 1), a lane starts with at most 16
    // above its end; the hundredth more is for rounding in fewest_bits.
    bool can_hold(const PackedTables& tables, RowView rows, size_t count) const {
        const double most = 1.01 * (17.0 * static_cast<double>(words_.count()) + 16.0 * lanes_) / tables.fewest_bits;
        if (static_cast<double>(count) <= most) return true;
        return static_cast<double>(count_coded(tables, rows, count)) <= most;
    }

    Status decode_block(const PackedTables& tables, const uint16_t* rows, size_t count, int16_t* symbols) {
        DecodeBlock block;
        loops_->find_coded(block, {tables.rows.data(), tables.rows.size()}, rows, count);
        const bool is_mixed = block.coded < count;
        uint32_t states[kMaxLanes];  // of the lane of coded symbol i of the block at i % lanes
        for (uint32_t k = 0; k < lanes_; ++k) states[k] = states_[(next_lane_ + k) & (lanes_ - 1)];
        const Status status = decode_coded(tables, block, states, is_mixed ? block.symbols : symbols);
        for (uint32_t k = 0; k < lanes_; ++k) states_[(next_lane_ + k) & (lanes_ - 1)] = states[k];
        next_lane_ = (next_lane_ + block.coded) & (lanes_ - 1);
        if (is_mixed) loops_->place(block, tables.rows.data(), rows, count, symbols);
        return status;
    }

    // Groups as far as they go; symbol by symbol where a group has an escape or another slot that needs a scan, and at the
    // end. A group may take words beyond the last one before that is noticed: `tail_` has room for them.
    Status decode_coded(const PackedTables& tables, const DecodeBlock& block, uint32_t* states, int16_t* symbols) {
        const uint32_t group = std::max(lanes_, plain::kLeastGroup);
        for (uint32_t i = 0; i < block.coded;) {
            if (words_.count() < kMaxLanes) move_to_tail();
            DecodeState state{tables.rows.data(), tables.buckets.data(), tables.decode.data(), words_.next, limit(), states,
                              lanes_, tables.precision};
            i = loops_->decode_groups(state, block, symbols, i, block.coded);
            words_.next = state.next;
            if (words_.next > words_.end) return Status::truncated;
            if (words_.next > state.limit) continue;
            const uint32_t end = std::min(i + group, block.coded);
            for (; i < end; ++i) {
                const Row& row = tables.rows[block.rows[i]];
                const Status status = decode_symbol(tables, row, states[i & (lanes_ - 1)], words_, symbols[i]);
                if (status != Status::ok) return status;
            }
        }
        return Status::ok;
    }

    static constexpr size_t kTail = 2 * kMaxLanes;  // bytes of a word for each lane

    bool is_in_tail() const { return words_.end == tail_ + kTail; }

    const uint8_t* limit() const { return is_in_tail() ? words_.end : words_.end - kTail; }

    void move_to_tail() {
        if (is_in_tail()) return;
        const auto size = static_cast<size_t>(words_.end - words_.next);
        uint8_t* end = tail_ + kTail;
        std::copy(words_.next, words_.end, end - size);
        words_ = {end - size, end};
    }

    uint32_t lanes_ = 1;
    uint32_t next_lane_ = 0;
    uint32_t states_[kMaxLanes] = {};
    WordReader words_;
    uint8_t tail_[2 * kTail] = {};  // the last words, and as much behind them
    const Loops* loops_;
    Status status_;
};

}  // namespace rarefy
