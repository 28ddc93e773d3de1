// What is tried with the coder: hostile streams, round trips and what becomes of them altered, every border of a row.
// Each gives the status that it ended in, so that the mix of outcomes can be looked at.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "decoder.h"
#include "drawn.h"
#include "encoder.h"
#include "every_loop.h"
#include "input.h"
#include "reference.h"

namespace rarefy::fuzz {

struct Decoded {
    Status status;
    std::vector<int16_t> symbols;
};

// A burst that the decoder refuses before it reads anything; it may go on with another one.
inline bool is_refusal(Status status) { return status == Status::row_range || status == Status::too_many_symbols; }

// Rows as bytes and symbols of 32 bits, where a caller has these.
inline Status decode_wide(StreamDecoder& decoder, const PackedTables& packed, const std::vector<uint16_t>& rows,
                          std::vector<int16_t>& symbols) {
    const std::vector<uint8_t> narrow(rows.begin(), rows.end());
    std::vector<int32_t> wide(symbols.begin(), symbols.end());
    const Status status = decoder.decode(packed, narrow.data(), rows.size(), wide.data());
    symbols.assign(wide.begin(), wide.end());
    return status;
}

// Arrays are no longer than they must be, so that the sanitizer sees what is read or written beyond.
inline Status decode_burst(StreamDecoder& decoder, const PackedTables& packed, const std::vector<uint16_t>& rows,
                           bool is_wide, std::vector<int16_t>& symbols) {
    symbols = std::vector<int16_t>(rows.size());
    const bool fits = std::all_of(rows.begin(), rows.end(), [](uint16_t row) { return row < 256; });
    return is_wide && fits ? decode_wide(decoder, packed, rows, symbols)
                           : decoder.decode(packed, rows.data(), rows.size(), symbols.data());
}

// Decode with the loops of every instruction set, which must agree, and with the reference. Faults in the stream may be
// named differently by that, that there is one may not.
inline Decoded decode_with_all(const Arrays& arrays, const PackedTables& packed, const std::vector<uint8_t>& stream,
                               const std::vector<std::vector<uint16_t>>& bursts) {
    std::vector<std::unique_ptr<StreamDecoder>> decoders;
    for (const Loops* loops : every_loop())
        decoders.push_back(std::make_unique<StreamDecoder>(stream.data(), stream.size(), *loops));
    ReferenceDecoder reference(stream, arrays);
    for (const auto& decoder : decoders)
        check(decoder->status() == reference.status(), "the stream's head is judged differently");
    std::vector<int16_t> all, symbols, others, expected;
    Status refusal = Status::ok;
    for (const auto& rows : bursts) {
        const Status status = decode_burst(*decoders[0], packed, rows, rows.size() % 2 == 0, symbols);
        for (size_t i = 1; i < decoders.size(); ++i) {
            check(decode_burst(*decoders[i], packed, rows, rows.size() % 2 == 1, others) == status, "statuses differ");
            check(status != Status::ok || others == symbols, "symbols of two instruction sets differ");
        }
        if (is_refusal(status)) {
            std::vector<int16_t> unused;
            check(ReferenceDecoder(reference).decode(rows, unused) != Status::ok, "a burst is refused that can be read");
            refusal = status;
            continue;
        }
        expected.clear();
        const bool is_read = reference.decode(rows, expected) == Status::ok;
        check((status == Status::ok) == is_read, "a burst is read by one decoder only");
        if (!is_read) return {status, {}};
        check(symbols == expected, "symbols differ");
        all.insert(all.end(), symbols.begin(), symbols.end());
    }
    for (const auto& decoder : decoders)
        check(decoder->finish() == reference.finish(), "the stream's end is judged differently");
    return {refusal != Status::ok ? refusal : decoders[0]->finish(), all};
}

inline Decoded decode_and_note(const Arrays& arrays, const PackedTables& packed, const std::vector<uint8_t>& stream,
                               const std::vector<std::vector<uint16_t>>& bursts) {
    Decoded decoded = decode_with_all(arrays, packed, stream, bursts);
    const uint64_t lanes = stream.empty() ? 0 : std::min<uint64_t>(stream[0], 6);
    reached(kOutcome, (static_cast<uint64_t>(decoded.status) * 7 + lanes) * 4 + static_cast<uint64_t>(arrays.precision - 12));
    return decoded;
}

inline Status decode_hostile(Input& input) {
    const Arrays arrays = draw_tables(input);
    const auto bursts = draw_bursts(input, arrays.rows());
    return decode_and_note(arrays, arrays.pack(), input.rest(), bursts).status;
}

// Change some bytes and cut the end off.
inline std::vector<uint8_t> altered(Input& input, std::vector<uint8_t> stream) {
    for (uint32_t changes = input.byte() % 4; changes > 0; --changes) {
        uint8_t& byte = stream[input.word() % stream.size()];
        byte = static_cast<uint8_t>(byte ^ input.byte());
    }
    if (const uint32_t cut = input.byte(); cut > 128) stream.resize(stream.size() - (cut - 128) % stream.size());
    return stream;
}

inline std::vector<uint8_t> stream_of(const StreamEncoder& encoder) {
    std::vector<uint8_t> stream(encoder.size_bytes());
    encoder.write(stream.data());
    return stream;
}

// The bursts one by one, the last one first, of symbols of 32 bits: the same bytes.
inline void check_parts(const PackedTables& packed, uint32_t lanes, const Loops& loops, const std::vector<int16_t>& symbols,
                        const std::vector<std::vector<uint16_t>>& bursts, const std::vector<uint8_t>& expected) {
    StreamEncoder encoder(packed, lanes, loops);
    auto end = symbols.end();
    for (auto rows = bursts.rbegin(); rows != bursts.rend(); ++rows) {
        const std::vector<int32_t> wide(end - static_cast<ptrdiff_t>(rows->size()), end);
        end -= static_cast<ptrdiff_t>(rows->size());
        check(encoder.prepend(packed, wide.data(), rows->data(), rows->size()) == Status::ok, "a part is refused");
    }
    check(stream_of(encoder) == expected, "bytes differ if encoded by parts");
}

inline Status round_trip(Input& input) {
    const Arrays arrays = draw_tables(input);
    const PackedTables packed = arrays.pack();
    const auto bursts = draw_bursts(input, arrays.rows());
    const uint32_t lanes = 1u << input.byte() % 6;
    Chance chance(input.byte());
    std::vector<uint16_t> rows;
    std::vector<int16_t> symbols;
    for (const auto& burst : bursts) rows.insert(rows.end(), burst.begin(), burst.end());
    for (const uint16_t row : rows) symbols.push_back(row < arrays.rows() ? draw_symbol(chance, arrays, row) : int16_t{0});
    if (input.byte() == 255 && !symbols.empty())  // perhaps one that a certain row does not allow
        symbols[input.word() % symbols.size()] = static_cast<int16_t>(input.word());

    ReferenceEncoder reference(arrays, lanes);
    const Status status = reference.encode(symbols, rows);
    for (const Loops* loops : every_loop()) {
        StreamEncoder encoder(packed, lanes, *loops);
        check(encoder.encode(symbols.data(), rows.data(), rows.size()) == status, "what is to be encoded is judged differently");
        check(status != Status::ok || stream_of(encoder) == reference.stream(), "bytes differ");
        if (status == Status::ok && loops == every_loop().back())
            check_parts(packed, lanes, *loops, symbols, bursts, reference.stream());
    }
    if (status != Status::ok) return status;
    const std::vector<uint8_t> stream = reference.stream();
    const Decoded decoded = decode_and_note(arrays, packed, stream, bursts);
    check(decoded.status == Status::ok && decoded.symbols == symbols, "a round trip gives something else");
    return decode_and_note(arrays, packed, altered(input, stream), bursts).status;
}

// The first and last slot of 8 neighbouring entries of one row, in states that the input gives, with words that follow.
inline Status every_border(Input& input) {
    const Arrays arrays = draw_tables(input);
    const PackedTables packed = arrays.pack();
    const auto row = static_cast<uint16_t>(input.byte() % arrays.rows());
    const uint32_t high = std::max(input.word() << 16 | input.word(), 1u << 16) >> arrays.precision << arrays.precision;
    std::vector<uint8_t> stream = {0, 0, 0, 0, 0};
    for (uint32_t i = 0; i < 12; ++i) stream.push_back(static_cast<uint8_t>(input.byte()));
    Status last = Status::ok;
    const auto first = static_cast<int32_t>(input.word() % static_cast<uint32_t>(arrays.values(row) + 1));
    const int32_t end = arrays.is_coded(row) ? std::min(first + 8, arrays.values(row) + 1) : 0;
    for (int32_t j = first; j < end; ++j) {
        const uint16_t* c = arrays.starts(row) + j;
        for (const uint32_t state : {high + c[0], high + c[1] - 1}) {
            for (size_t i = 0; i < 4; ++i) stream[1 + i] = static_cast<uint8_t>(state >> 8 * i);
            last = decode_and_note(arrays, packed, stream, {{row}}).status;
        }
    }
    return last;
}

}  // namespace rarefy::fuzz
