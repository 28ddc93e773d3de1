// Token streams: those of another machine give the same tokens here, and tokens the same streams.
#include "tokens.h"

#include <vector>

#include "records.h"

namespace replay {
namespace {

using namespace rarefy;

tokens::Model model(Records& records) {
    const auto alphabet = static_cast<uint32_t>(records.number());
    const auto member_bits = static_cast<int>(records.number());
    const auto groups = static_cast<uint32_t>(records.number()), classes = static_cast<uint32_t>(records.number());
    const Array<uint8_t> classes_of = records.array<uint8_t>();
    const Array<uint16_t> contexts = records.array<uint16_t>();
    const Array<int16_t> rows = records.array<int16_t>();
    const Array<uint32_t> counts = records.array<uint32_t>();
    return {alphabet,          member_bits,     groups,      classes,
            classes_of.values, contexts.values, rows.values, counts.values};
}

}  // namespace

// A stream that is whole has the status 0, and is encoded too.
void check_tokens(Records& records) {
    const tokens::Model packed = model(records);
    const auto grid_width = static_cast<size_t>(records.number());
    const Array<uint16_t> expected = records.array<uint16_t>();
    const Array<uint8_t> stream = records.array<uint8_t>();
    const auto status = static_cast<Status>(records.number());

    std::vector<uint16_t> found(expected.size());
    const Status ended = tokens::for_width(packed, [&](auto bits) {
        return tokens::decode<bits>(packed, stream.data(), stream.size(), grid_width, found.data(), found.size());
    });
    require(ended == status, "a stream of tokens ends in another status");
    if (status != Status::ok) return;
    require(found == expected.values, "other tokens");
    const std::vector<uint8_t> bytes = tokens::for_width(packed, [&](auto bits) {
        return tokens::encode<bits>(packed, expected.data(), expected.size(), grid_width);
    });
    require(bytes == stream.values, "other bytes");
}

}  // namespace replay
