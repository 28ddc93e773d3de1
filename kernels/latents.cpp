// The Python face of the work between means and symbols: rarefy.entropy.runner calls it with NumPy arrays.
#include "latents.h"

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <stdexcept>

namespace nb = nanobind;
using namespace nb::literals;
using namespace rarefy;

namespace {

template <typename T>
using Quarter = nb::ndarray<T, nb::ndim<4>, nb::c_contig, nb::device::cpu>;
template <typename T>
using Whole = nb::ndarray<T, nb::ndim<4>, nb::device::cpu>;
template <typename T>
using Row = nb::ndarray<const T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

void require(bool is_met, const char* what) {
    if (!is_met) throw std::invalid_argument(what);
}

template <typename Array>
Extents extents_of(const Array& array) {
    return {array.shape(0), array.shape(1), array.shape(2), array.shape(3)};
}

template <typename Array>
void require_extents(const Array& array, const Extents& extents) {
    const Extents own = extents_of(array);
    require(own.batch == extents.batch && own.height == extents.height && own.width == extents.width &&
                own.channels == extents.channels,
            "arrays of different shapes");
}

template <typename T>
Places<T> places(const Whole<T>& array, const Extents& extents) {
    require_extents(array, extents);
    require(extents.channels <= 1 || array.stride(3) == 1, "channels that do not lie side by side");
    return {array.data(), array.stride(0), array.stride(1), array.stride(2)};
}

void choose(const Whole<const float>& target, const Quarter<const float>& means, const Quarter<const uint8_t>& indices,
            const Quarter<int16_t>& symbols) {
    const Extents extents = extents_of(symbols);
    const Places<const float> from = places(target, extents);
    require_extents(means, extents);
    require_extents(indices, extents);
    nb::gil_scoped_release unlocked;
    each_position(extents, [&](size_t b, size_t y, size_t x, size_t own) {
        if (x + kAhead < extents.width) fetch(from.at(b, y, x + kAhead), extents.channels);
        choose_row(from.at(b, y, x), means.data() + own, indices.data() + own, extents.channels, symbols.data() + own);
    });
}

void take(const Quarter<const int16_t>& symbols, const Quarter<const float>& means, const Row<float>& spread,
          const Row<int8_t>& table, const Whole<int16_t>& all_symbols, const Whole<int8_t>& magnitudes,
          const Whole<float>& latents, const Whole<float>& known) {
    const Extents extents = extents_of(symbols);
    require_extents(means, extents);
    require(spread.size() == extents.channels, "spreads of another number of channels");
    require(table.size() == 128, "a table of magnitudes that has not 128 entries");
    const Places<int16_t> symbols_at = places(all_symbols, extents);
    const Places<int8_t> magnitudes_at = places(magnitudes, extents);
    const Places<float> latents_at = places(latents, extents), known_at = places(known, extents);
    nb::gil_scoped_release unlocked;
    each_position(extents, [&](size_t b, size_t y, size_t x, size_t own) {
        if (x + kAhead < extents.width) {
            fetch(symbols_at.at(b, y, x + kAhead), extents.channels);
            fetch(magnitudes_at.at(b, y, x + kAhead), extents.channels);
            fetch(latents_at.at(b, y, x + kAhead), extents.channels);
            fetch(known_at.at(b, y, x + kAhead), extents.channels);
        }
        const int16_t* from = symbols.data() + own;
        std::copy_n(from, extents.channels, symbols_at.at(b, y, x));
        magnitudes_row(from, table.data(), extents.channels, magnitudes_at.at(b, y, x));
        take_row(from, means.data() + own, spread.data(), extents.channels, latents_at.at(b, y, x), known_at.at(b, y, x));
    });
}

}  // namespace

NB_MODULE(_latents, module) {
    module.def("choose", &choose, "target"_a.noconvert(), "means"_a.noconvert(), "indices"_a.noconvert(),
               "symbols"_a.noconvert());
    module.def("take", &take, "symbols"_a.noconvert(), "means"_a.noconvert(), "spread"_a.noconvert(),
               "table"_a.noconvert(), "all_symbols"_a.noconvert(), "magnitudes"_a.noconvert(), "latents"_a.noconvert(),
               "known"_a.noconvert());
}
