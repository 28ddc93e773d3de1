// Valid tables, rows and symbols drawn from an input: all that a caller of the coder has checked before.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <vector>

#include "input.h"
#include "tables.h"

namespace rarefy::fuzz {

// The arrays of a weights file (docs/CODER.md, section 2).
struct Arrays {
    int precision = 12;
    std::vector<int32_t> offsets, row_starts{0};
    std::vector<uint16_t> cumulative;

    size_t rows() const { return offsets.size(); }
    bool is_coded(size_t row) const { return row_starts[row] != row_starts[row + 1]; }
    const uint16_t* starts(size_t row) const { return cumulative.data() + row_starts[row]; }
    int32_t values(size_t row) const { return is_coded(row) ? row_starts[row + 1] - row_starts[row] - 2 : 0; }

    // Section 7, as rarefy.entropy.tables computes it.
    double fewest_bits() const {
        int32_t largest = 1;
        for (size_t i = 1; i < cumulative.size(); ++i) largest = std::max(largest, cumulative[i] - cumulative[i - 1]);
        const double quotient = 1 << (16 - precision), others = 1 - largest / double(1 << precision);
        return -std::log2(1 - others * quotient / (quotient + 1));
    }

    PackedTables pack() const {
        return PackedTables(precision, fewest_bits(), offsets.data(), row_starts.data(), rows(), cumulative.data());
    }
};

// Frequencies of at least 1 in proportion to weights; the last entry, the escape, gets what is left.
inline std::vector<uint32_t> in_proportion(const std::vector<uint32_t>& weights, uint32_t total) {
    const auto free = static_cast<uint32_t>(total - weights.size());
    const uint64_t sum = std::max<uint64_t>(std::accumulate(weights.begin(), weights.end(), uint64_t{0}), 1);
    std::vector<uint32_t> frequencies;
    frequencies.reserve(weights.size());
    for (const uint32_t weight : weights) frequencies.push_back(1 + static_cast<uint32_t>(uint64_t{weight} * free / sum));
    frequencies.back() += total - std::accumulate(frequencies.begin(), frequencies.end(), 0u);
    return frequencies;
}

// A row's frequencies; none make it certain.
inline std::vector<uint32_t> draw_frequencies(Input& input, uint32_t kind, uint32_t total) {
    std::vector<uint32_t> weights;
    switch (kind % 4) {
        case 0: break;
        case 1:  // a few, each as the input says
            weights.resize(2 + input.byte() % 15);
            for (uint32_t& weight : weights) weight = input.byte();
            break;
        case 2: {  // many, by chance; at 12 bits perhaps as many as there is room for
            const uint32_t length = input.byte();
            weights.resize(length == 255 && total == 4096 ? total : 2 + length);
            Chance chance(input.byte());
            for (uint32_t& weight : weights) weight = chance.below(1 + chance.below(256));
            break;
        }
        default:  // one holds nearly all
            weights.resize(2 + input.byte());
            weights[input.byte() % weights.size()] = 1;
    }
    return weights.empty() ? weights : in_proportion(weights, total);
}

inline Arrays draw_tables(Input& input) {
    Arrays arrays;
    arrays.precision = 12 + static_cast<int>(input.byte() % 4);
    const uint32_t rows = 1 + input.byte() % 4;
    for (uint32_t row = 0; row < rows; ++row) {
        const uint32_t kind = input.byte();
        const std::vector<uint32_t> frequencies = draw_frequencies(input, kind, 1u << arrays.precision);
        const int32_t offset = kind & 4 ? static_cast<int16_t>(input.word()) : static_cast<int8_t>(input.byte());
        const auto length = static_cast<int32_t>(frequencies.size());
        arrays.offsets.push_back(std::min(offset, INT16_MAX - std::max(length - 2, 0)));
        uint32_t start = 0;
        arrays.cumulative.reserve(arrays.cumulative.size() + frequencies.size() + 1);
        if (length > 0) arrays.cumulative.push_back(0);
        for (const uint32_t frequency : frequencies)
            arrays.cumulative.push_back(static_cast<uint16_t>(start += frequency));
        arrays.row_starts.push_back(static_cast<int32_t>(arrays.cumulative.size()));
    }
    return arrays;
}

// One burst of rows by chance: few, or about the 2048 that the loops have in a block; now and then one that there is not.
inline std::vector<uint16_t> draw_rows(Input& input, size_t table_rows) {
    const uint32_t size = input.byte();
    std::vector<uint16_t> rows(size < 255 ? size / 8 : 1920 + input.byte());
    Chance chance(input.byte());
    for (uint16_t& row : rows) row = static_cast<uint16_t>(chance.below(static_cast<uint32_t>(table_rows)));
    if (input.byte() == 255 && !rows.empty()) rows[input.word() % rows.size()] = static_cast<uint16_t>(input.word());
    return rows;
}

inline std::vector<std::vector<uint16_t>> draw_bursts(Input& input, size_t table_rows) {
    std::vector<std::vector<uint16_t>> bursts(1 + input.byte() % 3);
    for (auto& rows : bursts) rows = draw_rows(input, table_rows);
    return bursts;
}

// A symbol of a row, one just beyond it, or any; certain rows get theirs.
inline int16_t draw_symbol(Chance& chance, const Arrays& arrays, size_t row) {
    const int32_t offset = arrays.offsets[row], values = arrays.values(row);
    if (!arrays.is_coded(row)) return static_cast<int16_t>(offset);
    const auto distance = static_cast<int32_t>(chance.below(1u << chance.below(9)));
    int32_t symbol = offset + static_cast<int32_t>(chance.below(static_cast<uint32_t>(values)));
    switch (chance.below(16)) {
        case 0: symbol = offset - 1 - distance; break;
        case 1: symbol = offset + values + distance; break;
        case 2: symbol = INT16_MIN + static_cast<int32_t>(chance.below(1u << 16)); break;
        case 3: symbol = chance.below(2) ? INT16_MIN : INT16_MAX; break;
    }
    return static_cast<int16_t>(std::clamp<int32_t>(symbol, INT16_MIN, INT16_MAX));
}

}  // namespace rarefy::fuzz
