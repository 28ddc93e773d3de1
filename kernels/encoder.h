// The encoding loop: it runs backwards over the symbols and writes the words backwards too.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "decoder.h"
#include "loops.h"
#include "loops_plain.h"
#include "rans.h"
#include "tables.h"
#include "views.h"

namespace rarefy {

class StreamEncoder {
public:
    StreamEncoder(const PackedTables& tables, uint32_t lanes, const Loops& loops = plain::kLoops)
        : tables_(tables), lanes_(lanes), loops_(lanes < loops.least_lanes ? plain::kLoops : loops) {
        for (uint32_t& state : states_) state = kStateLow;
    }

    Status encode(SymbolView symbols, RowView rows, size_t count) { return prepend(tables_, symbols, rows, count); }

    // Encode what comes before all that was encoded yet, under tables of its own.
    Status prepend(const PackedTables& tables, SymbolView symbols, RowView rows, size_t count) {
        if (!rows_are_valid(tables, rows, count)) return Status::row_range;
        uint16_t row_room[kBlock];
        int16_t symbol_room[kBlock];
        const size_t blocks = (count + kBlock - 1) / kBlock;
        for (size_t block = blocks; block-- > 0;) {
            const size_t start = block * kBlock, size = std::min(kBlock, count - start);
            const Status status = encode_block(tables, symbols.block(start, size, symbol_room),
                                               rows.block(start, size, row_room), size);
            if (status != Status::ok) return status;
        }
        return Status::ok;
    }

    size_t size_bytes() const { return 1 + 4 * size_t{lanes_} + 2 * words_used_; }

    // Write the stream into size_bytes() bytes.
    void write(uint8_t* out) const {
        uint8_t lanes_code = 0;
        while (1u << lanes_code < lanes_) ++lanes_code;
        *out++ = lanes_code;
        for (uint32_t lane = 0; lane < lanes_; ++lane)
            for (int shift = 0; shift < 32; shift += 8)
                *out++ = static_cast<uint8_t>(states_[(next_lane_ + lane) & (lanes_ - 1)] >> shift);
        const uint16_t* words = words_.get();
        for (size_t i = 0; i < words_used_; ++i) {
            const uint16_t word = words[words_used_ - 1 - i];
            out[2 * i] = static_cast<uint8_t>(word);
            out[2 * i + 1] = static_cast<uint8_t>(word >> 8);
        }
    }

private:
    // A word for each symbol and each piece of an escape at most, and some written before they are known to be due.
    void make_room(const EncodeBlock& block) {
        const size_t needed = words_used_ + block.coded + size_t{block.outside_count} * kEscapeSteps + kSlack;
        if (needed <= room_) return;
        room_ = needed + room_;
        std::unique_ptr<uint16_t[]> larger(new uint16_t[room_]);
        std::copy(words_.get(), words_.get() + words_used_, larger.get());
        words_ = std::move(larger);
    }

    Status encode_block(const PackedTables& tables, const int16_t* symbols, const uint16_t* rows, size_t count) {
        EncodeBlock block;
        if (!loops_.find_entries(block, {tables.rows.data(), tables.rows.size()}, rows, symbols, count))
            return Status::certain_symbol;
        make_room(block);
        const uint32_t first_lane = next_lane_ - block.coded;
        uint32_t states[kMaxLanes];  // of the lane of coded symbol i of the block at i % lanes
        for (uint32_t k = 0; k < lanes_; ++k) states[k] = states_[(first_lane + k) & (lanes_ - 1)];
        WordWriter words{words_.get() + words_used_};
        uint32_t end = block.coded;
        for (uint32_t left = block.outside_count; left-- > 0;) {
            const Outside& outside = block.outside[left];
            put_entries(tables, words, block, outside.number + 1u, end, states);
            const Row& row = tables.rows[rows[outside.position]];
            const uint32_t folded = fold(symbols[outside.position] - row.offset, row.value_count);
            put_escape(states[outside.number & (lanes_ - 1)], words, folded);
            put_entry(tables, words, block, outside.number, states);
            end = outside.number;
        }
        put_entries(tables, words, block, 0, end, states);
        for (uint32_t k = 0; k < lanes_; ++k) states_[(first_lane + k) & (lanes_ - 1)] = states[k];
        next_lane_ = first_lane & (lanes_ - 1);
        words_used_ = static_cast<size_t>(words.next - words_.get());
        return Status::ok;
    }

    // Those between two escapes: whole groups, and what is left before and after them.
    void put_entries(const PackedTables& tables, WordWriter& words, const EncodeBlock& block, uint32_t begin, uint32_t end,
                     uint32_t* states) const {
        const uint32_t group = std::max(lanes_, plain::kLeastGroup);
        const uint32_t first = std::min((begin + group - 1) / group * group, end);
        const uint32_t last = std::max(end / group * group, first);
        while (end > last) put_entry(tables, words, block, --end, states);
        const EncodeState state{tables.encode.data(), tables.packed.data(), words.next, states, lanes_,
                                tables.precision};
        if (last > first) words.next = loops_.put_groups(state, block.entries, first, last);
        for (end = std::min(end, first); end > begin;) put_entry(tables, words, block, --end, states);
    }

    void put_entry(const PackedTables& tables, WordWriter& words, const EncodeBlock& block, uint32_t i,
                   uint32_t* states) const {
        put_symbol(states[i & (lanes_ - 1)], words, tables.encode[block.entries[i]], tables.precision);
    }

    const PackedTables& tables_;
    const uint32_t lanes_;
    uint32_t next_lane_ = 0;  // of the first symbol yet, counted backwards from the end: `write` gives lanes their numbers
    uint32_t states_[kMaxLanes];
    const Loops& loops_;
    std::unique_ptr<uint16_t[]> words_;  // not filled with zeros, as a vector's would be
    size_t room_ = 0, words_used_ = 0;
};

}  // namespace rarefy
