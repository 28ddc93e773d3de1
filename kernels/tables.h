// Tables as the loops want them: two-level decode lookup and reciprocals, built once and then only read.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "rans.h"

namespace rarefy {

// 256 buckets of slots a row point at the first entry that reaches into them; a short scan does the rest. All of 64
// usual rows take some 70 kB at every precision, where a table of every slot would take 2 MB at 14 bits.
constexpr int kBucketBits = 8;

struct Row {
    uint32_t first_entry;   // into decode and encode
    uint32_t first_bucket;  // into buckets
    uint32_t value_count;   // entries without the escape
    int16_t offset;
    uint16_t is_coded;
};

struct PackedTables {
    int precision = 0;
    double fewest_bits = 0;  // that any coded symbol takes from a state, whatever the state
    std::vector<Row> rows;
    std::vector<DecodeEntry> decode;
    std::vector<EncodeEntry> encode;
    std::vector<uint16_t> buckets;

    // The arrays are those of rarefy.entropy.tables.Tables, which has validated them.
    PackedTables(int precision_bits, double fewest, const int32_t* offsets, const int32_t* row_starts, size_t row_count,
                 const uint16_t* cumulative)
        : precision(precision_bits), fewest_bits(fewest) {
        rows.reserve(row_count);
        for (size_t row = 0; row < row_count; ++row) {
            const int32_t boundaries = row_starts[row + 1] - row_starts[row];
            add_row(offsets[row], cumulative + row_starts[row], boundaries > 0 ? boundaries - 1 : 0);
        }
    }

    const DecodeEntry& find(const Row& row, uint32_t slot) const {
        const DecodeEntry* entry =
            &decode[row.first_entry + buckets[row.first_bucket + (slot >> (precision - kBucketBits))]];
        while (slot - entry->start >= entry->frequency) ++entry;
        return *entry;
    }

private:
    void add_row(int32_t offset, const uint16_t* starts, int32_t length) {
        rows.push_back({static_cast<uint32_t>(decode.size()), static_cast<uint32_t>(buckets.size()),
                        static_cast<uint32_t>(std::max(length - 1, 0)), static_cast<int16_t>(offset),
                        static_cast<uint16_t>(length > 0)});
        for (int32_t index = 0; index < length; ++index) {
            const auto frequency = static_cast<uint16_t>(starts[index + 1] - starts[index]);
            const bool is_escape = index + 1 == length;
            decode.push_back({frequency, starts[index], static_cast<int16_t>(offset + index), is_escape});
            encode.push_back({(((uint64_t{1} << (32 + precision)) - 1) / frequency) + 1, frequency, starts[index]});
        }
        if (length > 0) add_buckets(starts);
    }

    void add_buckets(const uint16_t* starts) {
        uint16_t index = 0;
        for (uint32_t bucket = 0; bucket < (1u << kBucketBits); ++bucket) {
            while (starts[index + 1] <= bucket << (precision - kBucketBits)) ++index;
            buckets.push_back(index);
        }
    }
};

}  // namespace rarefy
