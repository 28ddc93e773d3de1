// The encoding loop: it runs backwards over the symbols and writes the words backwards too.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "decoder.h"
#include "rans.h"
#include "tables.h"

namespace rarefy {

class StreamEncoder {
public:
    StreamEncoder(const PackedTables& tables, uint32_t lanes) : tables_(tables), lanes_(lanes) {
        for (uint32_t& state : states_) state = kStateLow;
    }

    Status encode(const int16_t* symbols, const uint16_t* rows, size_t count) {
        if (!rows_are_valid(tables_, rows, count)) return Status::row_range;
        next_lane_ = static_cast<uint32_t>(count_coded(tables_, rows, count) % lanes_);
        const size_t blocks = (count + kBlock - 1) / kBlock;
        for (size_t block = blocks; block-- > 0;) {
            const size_t start = block * kBlock;
            const Status status = encode_block(symbols + start, rows + start, std::min(kBlock, count - start));
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
            for (int shift = 0; shift < 32; shift += 8) *out++ = static_cast<uint8_t>(states_[lane] >> shift);
        for (size_t i = words_used_; i-- > 0;) {
            *out++ = static_cast<uint8_t>(words_[i]);
            *out++ = static_cast<uint8_t>(words_[i] >> 8);
        }
    }

private:
    // One word for the symbol and one for each piece of its escape, and one written before it is known to be due.
    static constexpr size_t kWordsPerSymbol = 1 + kEscapeSteps;

    void make_room(size_t symbols) {
        const size_t needed = words_used_ + symbols * kWordsPerSymbol + 1;
        if (words_.size() < needed) words_.resize(needed + words_.size() / 2);
    }

    Status encode_block(const int16_t* symbols, const uint16_t* rows, size_t count) {
        uint16_t positions[kBlock];
        uint32_t coded = 0, wrong = 0;
        for (size_t i = 0; i < count; ++i) {  // without branches on what is coded, which is a coin toss
            const Row& row = tables_.rows[rows[i]];
            positions[coded] = static_cast<uint16_t>(i);
            coded += row.is_coded;
            wrong |= static_cast<uint32_t>((symbols[i] != row.offset) & !row.is_coded);
        }
        if (wrong) return Status::certain_symbol;
        make_room(coded);
        WordWriter words{words_.data() + words_used_};
        for (uint32_t i = coded; i-- > 0;) {
            next_lane_ = (next_lane_ - 1) & (lanes_ - 1);
            put(states_[next_lane_], words, tables_.rows[rows[positions[i]]], symbols[positions[i]]);
        }
        words_used_ = static_cast<size_t>(words.next - words_.data());
        return Status::ok;
    }

    void put(uint32_t& state, WordWriter& words, const Row& row, int16_t symbol) const {
        const int32_t index = symbol - row.offset;
        if (static_cast<uint32_t>(index) < row.value_count) {
            put_symbol(state, words, tables_.encode[row.first_entry + static_cast<uint32_t>(index)], tables_.precision);
            return;
        }
        const uint32_t is_below = index < 0;
        const auto distance = static_cast<uint32_t>(is_below ? -1 - index : index - static_cast<int32_t>(row.value_count));
        put_escape(state, words, distance << 1 | is_below);
        put_symbol(state, words, tables_.encode[row.first_entry + row.value_count], tables_.precision);
    }

    const PackedTables& tables_;
    const uint32_t lanes_;
    uint32_t next_lane_ = 0;
    uint32_t states_[kMaxLanes];
    std::vector<uint16_t> words_;
    size_t words_used_ = 0;
};

}  // namespace rarefy
