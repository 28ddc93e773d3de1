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

template <int Axes>
using In = nb::ndarray<const float, nb::ndim<Axes + 1>, nb::c_contig, nb::device::cpu>;
template <int Axes>
using Out = nb::ndarray<float, nb::ndim<Axes + 1>, nb::c_contig, nb::device::cpu>;

// Signals and their bands must fit each other: [N, ...] and [N 2^(axes levels), ... / 2^levels].
template <class Signals, class Bands>
void check(const Signals& signals, const Bands& bands, int levels) {
    const size_t side = levels >= 0 && levels < 16 ? size_t{1} << levels : 0;
    if (!side) throw std::invalid_argument("levels that there are not");
    size_t count = signals.shape(0);
    for (size_t axis = 1; axis < signals.ndim(); ++axis) {
        if (!signals.shape(axis) || signals.shape(axis) % side)
            throw std::invalid_argument("sides that the levels do not divide");
        if (bands.shape(axis) != signals.shape(axis) / side) throw std::invalid_argument("bands of another shape");
        count *= side;
    }
    if (bands.shape(0) != count) throw std::invalid_argument("bands of another shape");
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
void split(const In<2>& planes, const Out<2>& bands, int levels, int threads) {
    check(planes, bands, levels);
    const size_t height = planes.shape(1), width = planes.shape(2);
    each_plane(planes.shape(0), height, width, levels, threads, [&](Packets& packets, size_t at) {
        packets.split(planes.data() + at, height, width, bands.data() + at);
    });
}

void merge(const In<2>& bands, const Out<2>& planes, int levels, int threads) {
    check(planes, bands, levels);
    const size_t height = planes.shape(1), width = planes.shape(2);
    each_plane(planes.shape(0), height, width, levels, threads, [&](Packets& packets, size_t at) {
        packets.merge(bands.data() + at, height, width, planes.data() + at);
    });
}

// The same for lines of n samples.
template <class Work>
void each_line(size_t count, size_t n, int levels, int threads, const Work& work) {
    nb::gil_scoped_release unlocked;
    in_parallel(static_cast<int64_t>(count), threads, [&](const auto& next) {
        LinePackets packets(n, levels);
        for (int64_t line = next(); line >= 0; line = next()) work(packets, static_cast<size_t>(line) * n);
    });
}

// Lines [N, n] to bands [N 2^levels, n / 2^levels].
void split_lines(const In<1>& lines, const Out<1>& bands, int levels, int threads) {
    check(lines, bands, levels);
    const size_t n = lines.shape(1);
    each_line(lines.shape(0), n, levels, threads, [&](LinePackets& packets, size_t at) {
        packets.split(lines.data() + at, n, bands.data() + at);
    });
}

void merge_lines(const In<1>& bands, const Out<1>& lines, int levels, int threads) {
    check(lines, bands, levels);
    const size_t n = lines.shape(1);
    each_line(lines.shape(0), n, levels, threads, [&](LinePackets& packets, size_t at) {
        packets.merge(bands.data() + at, n, lines.data() + at);
    });
}

}  // namespace

NB_MODULE(_packets, module) {
    module.def("split", &split, "planes"_a, "bands"_a.noconvert(), "levels"_a, "threads"_a);
    module.def("merge", &merge, "bands"_a, "planes"_a.noconvert(), "levels"_a, "threads"_a);
    module.def("split_lines", &split_lines, "lines"_a, "bands"_a.noconvert(), "levels"_a, "threads"_a);
    module.def("merge_lines", &merge_lines, "bands"_a, "lines"_a.noconvert(), "levels"_a, "threads"_a);
}
