// Between means and symbols: the same symbols and, to the last bit, the same floats.
#include "latents.h"

#include <vector>

#include "records.h"

namespace replay {

using namespace rarefy;

void check_choose(Records& records) {
    const Array<float> target = records.array<float>(), means = records.array<float>();
    const Array<uint8_t> indices = records.array<uint8_t>();
    const Array<int16_t> expected = records.array<int16_t>();
    std::vector<int16_t> symbols(target.size());
    choose_row(target.data(), means.data(), indices.data(), target.size(), symbols.data());
    require_same(symbols.data(), expected, "other symbols are chosen");
}

void check_take(Records& records) {
    const Array<int16_t> symbols = records.array<int16_t>();
    const Array<float> means = records.array<float>(), spread = records.array<float>();
    const Array<int8_t> table = records.array<int8_t>(), magnitudes = records.array<int8_t>();
    const Array<float> latents = records.array<float>(), known = records.array<float>();
    const size_t count = symbols.size();
    std::vector<int8_t> found_magnitudes(count);
    std::vector<float> found_latents(count), found_known(count);
    magnitudes_row(symbols.data(), table.data(), count, found_magnitudes.data());
    take_row(symbols.data(), means.data(), spread.data(), count, found_latents.data(), found_known.data());
    require_same(found_magnitudes.data(), magnitudes, "other magnitudes");
    require_same(found_latents.data(), latents, "other latents");
    require_same(found_known.data(), known, "other floats for the means");
}

}  // namespace replay
