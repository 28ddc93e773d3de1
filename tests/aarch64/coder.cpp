// The entropy coder: streams of another machine give the same symbols here, and symbols the same streams.
#include <algorithm>
#include <vector>

#include "decoder.h"
#include "encoder.h"
#include "records.h"
#include "tables.h"

namespace replay {
namespace {

using namespace rarefy;

PackedTables tables(Records& records) {
    const auto precision = static_cast<int>(records.number());
    const Array<double> fewest_bits = records.array<double>();
    const Array<int32_t> offsets = records.array<int32_t>(), row_starts = records.array<int32_t>();
    const Array<uint16_t> cumulative = records.array<uint16_t>();
    return PackedTables(precision, fewest_bits.values.at(0), offsets.data(), row_starts.data(), offsets.size(),
                        cumulative.data());
}

// Decode in two bursts, as callers do.
Status decode(const PackedTables& packed, const Array<uint8_t>& stream, const Array<uint16_t>& rows,
              std::vector<int16_t>& symbols) {
    StreamDecoder decoder(stream.data(), stream.size());
    if (decoder.status() != Status::ok) return decoder.status();
    const size_t half = rows.size() / 2;
    symbols.assign(rows.size(), 0);
    Status status = decoder.decode(packed, rows.data(), half, symbols.data());
    if (status == Status::ok)
        status = decoder.decode(packed, rows.data() + half, rows.size() - half, symbols.data() + half);
    return status == Status::ok ? decoder.finish() : status;
}

}  // namespace

void check_stream(Records& records) {
    const PackedTables packed = tables(records);
    const Array<uint16_t> rows = records.array<uint16_t>();
    const Array<int16_t> symbols = records.array<int16_t>();
    const auto lanes = static_cast<uint32_t>(records.number());
    const Array<uint8_t> stream = records.array<uint8_t>();

    StreamEncoder encoder(packed, lanes);
    require(encoder.encode(symbols.data(), rows.data(), rows.size()) == Status::ok, "encoding fails");
    std::vector<uint8_t> bytes(encoder.size_bytes());
    encoder.write(bytes.data());
    require(bytes == stream.values, "other bytes");
    std::vector<int16_t> decoded;
    require(decode(packed, stream, rows, decoded) == Status::ok, "decoding fails");
    require(decoded == symbols.values, "other symbols");
}

void check_damaged_stream(Records& records) {
    const PackedTables packed = tables(records);
    const Array<uint16_t> rows = records.array<uint16_t>();
    const Array<uint8_t> stream = records.array<uint8_t>();
    const auto status = static_cast<Status>(records.number());
    std::vector<int16_t> decoded;
    require(decode(packed, stream, rows, decoded) == status, "a damaged stream ends in another error");
}

}  // namespace replay
