// Arrays of the caller's as the coder walks through them, block by block: rows of 8 or 16 bits, symbols of 16 or 32.
// Wider or narrower ones go through a block's room; those of the coder's own types are not copied.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "loops.h"

namespace rarefy {

class RowView {
public:
    RowView(const uint16_t* rows) : rows_(rows) {}         // NOLINT: a view is what it views
    RowView(const uint8_t* rows) : narrow_rows_(rows) {}  // NOLINT

    const uint16_t* block(size_t start, size_t count, uint16_t* room) const {
        if (rows_ != nullptr || narrow_rows_ == nullptr) return rows_ + start;
        std::copy(narrow_rows_ + start, narrow_rows_ + start + count, room);
        return room;
    }

    uint32_t largest(size_t count) const {
        return narrow_rows_ != nullptr ? largest(narrow_rows_, count) : largest(rows_, count);
    }

    // Call each(row) for all.
    template <class Each>
    void walk(size_t count, const Each& each) const {
        if (narrow_rows_ != nullptr) {
            for (size_t i = 0; i < count; ++i) each(narrow_rows_[i]);
        } else {
            for (size_t i = 0; i < count; ++i) each(rows_[i]);
        }
    }

private:
    template <class T>
    static T largest(const T* rows, size_t count) {
        T found = 0;
        for (size_t i = 0; i < count; ++i) found = std::max(found, rows[i]);
        return found;
    }

    const uint16_t* rows_ = nullptr;
    const uint8_t* narrow_rows_ = nullptr;
};

// Symbols to encode; wide ones must fit 16 bits.
class SymbolView {
public:
    SymbolView(const int16_t* symbols) : symbols_(symbols) {}    // NOLINT
    SymbolView(const int32_t* symbols) : wide_symbols_(symbols) {}  // NOLINT

    const int16_t* block(size_t start, size_t count, int16_t* room) const {
        if (wide_symbols_ == nullptr) return symbols_ + start;
        for (size_t i = 0; i < count; ++i) room[i] = static_cast<int16_t>(wide_symbols_[start + i]);
        return room;
    }

private:
    const int16_t* symbols_ = nullptr;
    const int32_t* wide_symbols_ = nullptr;
};

// Where decoded symbols go.
class SymbolSink {
public:
    SymbolSink(int16_t* symbols) : symbols_(symbols) {}          // NOLINT
    SymbolSink(int32_t* symbols) : wide_symbols_(symbols) {}  // NOLINT

    int16_t* block(size_t start, int16_t* room) const { return wide_symbols_ != nullptr ? room : symbols_ + start; }

    void put(size_t start, size_t count, const int16_t* room) const {
        if (wide_symbols_ != nullptr) std::copy(room, room + count, wide_symbols_ + start);
    }

private:
    int16_t* symbols_ = nullptr;
    int32_t* wide_symbols_ = nullptr;
};

}  // namespace rarefy
