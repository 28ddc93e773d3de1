// The Python face of the wavelet packets: rarefy.models.wavelets calls it with NumPy arrays.
#include "packets.h"

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <stdexcept>

#include "parallel.h"

namespace nb = nanobind;
using namespace nb::literals;
using namespace rarefy;

namespace {

using In = nb::ndarray<const float, nb::ndim<3>, nb::c_contig, nb::device::cpu>;
using Out = nb::ndarray<float, nb::ndim<3>, nb::c_contig, nb::device::cpu>;

template <class Planes, class Bands>
void check(const Planes& planes, const Bands& bands, int levels) {
    const size_t side = levels >= 0 && levels < 16 ? size_t{1} << levels : 0;
    if (!side || planes.shape(1) % side || planes.shape(2) % side || !planes.shape(1) || !planes.shape(2))
        throw std::invalid_argument("sides that the levels do not divide");
    if (bands.shape(0) != planes.shape(0) * side * side || bands.shape(1) != planes.shape(1) / side ||
        bands.shape(2) != planes.shape(2) / side)
        throw std::invalid_argument("bands of another shape");
}

// Call work(packets, place) for each plane [H, W] of a stack, on up to `threads` threads; both sides have it at `place`.
template <class Work>
void each_plane(size_t count, size_t height, size_t width, int levels, int threads, const Work& work) {
    nb::gil_scoped_release unlocked;
    in_parallel(static_cast<int64_t>(count), threads, [&](const auto& next) {
        Packets packets(height, width, levels);
        for (int64_t plane = next(); plane >= 0; plane = next())
            work(packets, static_cast<size_t>(plane) * height * width);
    });
}

// Planes [N, H, W] to bands [N 4^levels, H / 2^levels, W / 2^levels].
void split(const In& planes, const Out& bands, int levels, int threads) {
    check(planes, bands, levels);
    const size_t height = planes.shape(1), width = planes.shape(2);
    each_plane(planes.shape(0), height, width, levels, threads, [&](Packets& packets, size_t at) {
        packets.split(planes.data() + at, height, width, bands.data() + at);
    });
}

void merge(const In& bands, const Out& planes, int levels, int threads) {
    check(planes, bands, levels);
    const size_t height = planes.shape(1), width = planes.shape(2);
    each_plane(planes.shape(0), height, width, levels, threads, [&](Packets& packets, size_t at) {
        packets.merge(bands.data() + at, height, width, planes.data() + at);
    });
}

}  // namespace

NB_MODULE(_packets, module) {
    module.def("split", &split, "planes"_a, "bands"_a.noconvert(), "levels"_a, "threads"_a);
    module.def("merge", &merge, "bands"_a, "planes"_a.noconvert(), "levels"_a, "threads"_a);
}
