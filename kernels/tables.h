// Tables as the loops want them: decode lookup by buckets and reciprocals, built once and then only read.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "loops.h"
#include "rans.h"

namespace rarefy {

constexpr int kMostBucketBits = 9;       // buckets of a row: at most 2^9
constexpr uint32_t kRareSlots = 1u << 8;  // one slot in so many may need a scan beyond its bucket, if that is enough

struct PackedTables {
    int precision = 0;
    double fewest_bits = 0;  // that any coded symbol takes from a state, whatever the state
    bool has_certain = false;
    std::vector<Row> rows;
    std::vector<DecodeEntry> decode;
    std::vector<EncodeEntry> encode;
    std::vector<uint64_t> packed;  // `encode` in eight bytes each
    std::vector<Bucket> buckets;
    std::vector<uint16_t> expected_bits;  // of a symbol of each row, in 1/256 bit; only for choosing lanes

    // The arrays are those of rarefy.entropy.tables.Tables, which has validated them. bucket_bits: log2 of the buckets of
    // every coded row; each has what it needs without.
    PackedTables(int precision_bits, double fewest, const int32_t* offsets, const int32_t* row_starts, size_t row_count,
                 const uint16_t* cumulative, const uint16_t* expected = nullptr, int bucket_bits = -1)
        : precision(precision_bits), fewest_bits(fewest), bucket_bits_(bucket_bits) {
        if (expected != nullptr) expected_bits.assign(expected, expected + row_count);
        rows.reserve(row_count);
        for (size_t row = 0; row < row_count; ++row) {
            const int32_t boundaries = row_starts[row + 1] - row_starts[row];
            has_certain |= boundaries == 0;
            add_row(offsets[row], cumulative + row_starts[row], boundaries > 0 ? boundaries - 1 : 0);
        }
    }

    // The entry of any slot, escapes too.
    const DecodeEntry& find(const Row& row, uint32_t slot) const {
        const Bucket& bucket =
            buckets[(row.lookup >> kLookupShiftBits) + (slot >> (row.lookup & ((1u << kLookupShiftBits) - 1)))];
        const DecodeEntry* entry = &decode[row.first_entry + static_cast<uint16_t>(bucket.symbol - row.offset)];
        while (slot - entry->start >= entry->frequency) ++entry;
        return *entry;
    }

private:
    void add_row(int32_t offset, const uint16_t* starts, int32_t length) {
        const auto first_entry = static_cast<uint32_t>(decode.size());
        for (int32_t index = 0; index < length; ++index) {
            const auto frequency = static_cast<uint16_t>(starts[index + 1] - starts[index]);
            const bool is_escape = index + 1 == length;
            decode.push_back({frequency, starts[index], static_cast<int16_t>(offset + index), is_escape});
            encode.push_back({divide_up(32 + precision, frequency), frequency, starts[index]});
            packed.push_back(pack(frequency, starts[index]));
        }
        rows.push_back({first_entry, length > 0 ? add_buckets(offset, starts, length) : 0,
                        static_cast<uint16_t>(std::max(length - 1, 0)), static_cast<int16_t>(offset), length > 0});
    }

    static uint64_t divide_up(int exponent, uint32_t divisor) {
        return ((uint64_t{1} << exponent) - 1) / divisor + 1;
    }

    uint64_t pack(uint32_t frequency, uint32_t start) const {
        int bits = 0;
        while (1u << bits < frequency) ++bits;
        return divide_up(2 * bits + 32 - precision, frequency) << kPackedReciprocalShift |
               uint64_t{frequency} << kPackedFrequencyShift | start;
    }

    // As few buckets as leave slots beyond their first two entries rare: small rows then share the first-level cache.
    uint32_t add_buckets(int32_t offset, const uint16_t* starts, int32_t length) {
        const auto first = static_cast<uint32_t>(buckets.size());
        int bits = 0;
        while (bits < kMostBucketBits && 2 << bits < length) ++bits;
        if (bucket_bits_ >= 0) bits = bucket_bits_;
        for (;; ++bits) {
            buckets.resize(first);
            const uint32_t missed = fill_buckets(offset, starts, length, bits);
            if (bits == bucket_bits_ || bits == kMostBucketBits || missed * kRareSlots <= 1u << precision) break;
        }
        return first << kLookupShiftBits | static_cast<uint32_t>(precision - bits);
    }

    // Append 2^bits buckets; returns how many slots they leave to a scan, those of the escape aside.
    uint32_t fill_buckets(int32_t offset, const uint16_t* starts, int32_t length, int bits) {
        const uint32_t width = 1u << (precision - bits);
        const int32_t escape = length - 1;
        uint32_t missed = 0;
        int32_t index = 0;
        for (uint32_t slot = 0; slot < 1u << precision; slot += width) {
            while (starts[index + 1] <= slot) ++index;
            const auto middle = starts[std::min(index + 1, escape)], end = starts[std::min(index + 2, escape)];
            buckets.push_back({starts[index], middle, end, static_cast<int16_t>(offset + index)});
            const uint32_t reached = std::min<uint32_t>(slot + width, starts[escape]);
            missed += reached > end ? reached - end : 0;
        }
        return missed;
    }

    int bucket_bits_;
};

}  // namespace rarefy
