// The coded stream word for word as docs/CODER.md has it, and nothing of what makes the coder fast: the other opinion.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "drawn.h"
#include "rans.h"

namespace rarefy::fuzz {

class ReferenceDecoder {
public:
    ReferenceDecoder(const std::vector<uint8_t>& stream, const Arrays& tables) : stream_(stream), tables_(tables) {
        status_ = open();
    }

    Status status() const { return status_; }

    // One symbol per row is appended; a failure stays.
    Status decode(const std::vector<uint16_t>& rows, std::vector<int16_t>& symbols) {
        for (const uint16_t row : rows)
            if (row >= tables_.rows()) return Status::row_range;
        for (size_t i = 0; i < rows.size() && status_ == Status::ok; ++i) status_ = decode_one(rows[i], symbols);
        return status_;
    }

    Status finish() const {
        if (status_ != Status::ok) return status_;
        if (next_ != stream_.size()) return Status::words_left;
        for (const uint64_t state : states_)
            if (state != 1u << 16) return Status::state_end;
        return Status::ok;
    }

private:
    Status open() {
        if (stream_.empty()) return Status::truncated;
        if (stream_[0] > 5) return Status::lanes_reserved;
        states_.resize(size_t{1} << stream_[0]);
        next_ = 1 + 4 * states_.size();
        if (stream_.size() < next_ || (stream_.size() - next_) % 2) return Status::truncated;
        for (size_t lane = 0; lane < states_.size(); ++lane) {
            for (size_t i = 4; i-- > 0;) states_[lane] = states_[lane] << 8 | stream_[1 + 4 * lane + i];
            reached(kHead, length_of(states_[lane]));
            if (states_[lane] < 1u << 16) return Status::state_range;
        }
        return Status::ok;
    }

    Status decode_one(uint16_t row, std::vector<int16_t>& symbols) {
        int32_t symbol = tables_.offsets[row];
        if (tables_.is_coded(row)) {
            uint64_t& x = states_[coded_++ % states_.size()];
            const uint16_t* c = tables_.starts(row);
            const uint64_t slot = x % (1u << tables_.precision);
            const auto j = static_cast<int32_t>(std::upper_bound(c, c + tables_.values(row) + 2, slot) - c - 1);
            reached(kFrequency, 16 * static_cast<uint64_t>(tables_.precision - 12) + length_of(c[j + 1] - c[j]) - 1);
            x = uint64_t(c[j + 1] - c[j]) * (x >> tables_.precision) + slot - c[j];
            if (!refill(x)) return Status::truncated;
            symbol += j;
            if (j == tables_.values(row)) {
                const Status status = take_escape(x, row, symbol);
                if (status != Status::ok) return status;
            }
        }
        symbols.push_back(static_cast<int16_t>(symbol));
        return Status::ok;
    }

    Status take_escape(uint64_t& x, uint16_t row, int32_t& symbol) {
        uint64_t bit = 0, h = 0, t = 0;
        uint32_t e = 0;
        for (; take(x, 1, bit) && bit == 0; ++e)
            if (e == 16) return Status::escape_range;
        if (bit == 0 || !take(x, e, h) || !take(x, 1, t)) return Status::truncated;
        reached(kEscape, 2 * e + t);
        const auto d = static_cast<int32_t>((1u << e) + h - 1);
        symbol = t ? tables_.offsets[row] - 1 - d : tables_.offsets[row] + tables_.values(row) + d;
        return symbol < -32768 || symbol > 32767 ? Status::escape_range : Status::ok;
    }

    bool take(uint64_t& x, uint32_t bits, uint64_t& value) {
        value = x % (uint64_t{1} << bits);
        x >>= bits;
        return refill(x);
    }

    bool refill(uint64_t& x) {
        if (x == 1u << 16 || x + 1 == 1u << 16) reached(kBound, 64 + x % 2);
        if (x >= 1u << 16) return true;
        if (next_ == stream_.size()) return false;
        x = x << 16 | stream_[next_] | stream_[next_ + 1] << 8;
        next_ += 2;
        return true;
    }

    const std::vector<uint8_t>& stream_;
    const Arrays& tables_;
    std::vector<uint64_t> states_;
    size_t next_ = 0, coded_ = 0;
    Status status_;
};

class ReferenceEncoder {
public:
    ReferenceEncoder(const Arrays& tables, size_t lanes) : tables_(tables), states_(lanes, 1u << 16) {}

    Status encode(const std::vector<int16_t>& symbols, const std::vector<uint16_t>& rows) {
        size_t coded = 0;
        for (const uint16_t row : rows)
            if (row >= tables_.rows()) return Status::row_range;
        for (size_t i = 0; i < rows.size(); ++i) {
            if (tables_.is_coded(rows[i])) ++coded;
            else if (symbols[i] != tables_.offsets[rows[i]]) return Status::certain_symbol;
        }
        for (size_t i = rows.size(); i-- > 0;)
            if (tables_.is_coded(rows[i])) put_symbol(states_[--coded % states_.size()], rows[i], symbols[i]);
        return Status::ok;
    }

    std::vector<uint8_t> stream() const {
        std::vector<uint8_t> bytes{0};
        while (size_t{1} << bytes[0] < states_.size()) ++bytes[0];
        for (const uint64_t state : states_)
            for (int i = 0; i < 4; ++i) bytes.push_back(static_cast<uint8_t>(state >> 8 * i));
        for (size_t i = words_.size(); i-- > 0;) {
            bytes.push_back(static_cast<uint8_t>(words_[i]));
            bytes.push_back(static_cast<uint8_t>(words_[i] >> 8));
        }
        return bytes;
    }

private:
    void put_symbol(uint64_t& x, uint16_t row, int16_t symbol) {
        const int32_t values = tables_.values(row), index = symbol - tables_.offsets[row];
        const bool is_inside = 0 <= index && index < values;
        if (!is_inside) put_escape(x, index < 0 ? -1 - index : index - values, index < 0);
        const uint16_t* c = tables_.starts(row) + (is_inside ? index : values);
        put(x, tables_.precision, c[0], static_cast<uint64_t>(c[1] - c[0]));
    }

    // d = 2^e + h - 1, pieces from the last to the first.
    void put_escape(uint64_t& x, int32_t d, bool is_below) {
        int e = 0;
        while ((d + 1) >> (e + 1)) ++e;
        put(x, 1, is_below, 1);
        put(x, e, static_cast<uint64_t>(d + 1 - (1 << e)), 1);
        put(x, 1, 1, 1);
        for (int i = 0; i < e; ++i) put(x, 1, 0, 1);
    }

    void put(uint64_t& x, int bits, uint64_t start, uint64_t frequency) {
        const uint64_t bound = frequency << (32 - bits);
        if (x == bound || x + 1 == bound) reached(kBound, 2 * static_cast<uint64_t>(bits) + (x == bound));
        if (x >= bound) {
            words_.push_back(static_cast<uint16_t>(x));
            x >>= 16;
        }
        x = (x / frequency << bits) + x % frequency + start;
    }

    const Arrays& tables_;
    std::vector<uint64_t> states_;
    std::vector<uint16_t> words_;
};

}  // namespace rarefy::fuzz
