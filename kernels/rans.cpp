// The Python face of the coder. It reports a Status as an integer; rarefy.entropy.coder turns it into an exception.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <stdexcept>

#include "decoder.h"
#include "encoder.h"
#include "tables.h"

namespace nb = nanobind;
using namespace nb::literals;
using namespace rarefy;

namespace {

template <typename T>
using Array = nb::ndarray<const T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using OutArray = nb::ndarray<int16_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

void require_equal(size_t left, size_t right) {
    if (left != right) throw std::invalid_argument("arrays of different lengths");
}

// Holds the array that the decoder points into.
struct Decoder {
    explicit Decoder(Array<uint8_t> bytes) : data(bytes), stream(data.data(), data.size()) {}

    int admit(const PackedTables& tables, Array<uint16_t> rows) const {
        nb::gil_scoped_release unlocked;
        return static_cast<int>(stream.admit(tables, rows.data(), rows.size()));
    }

    int decode(const PackedTables& tables, Array<uint16_t> rows, OutArray symbols) {
        require_equal(rows.size(), symbols.size());
        nb::gil_scoped_release unlocked;
        return static_cast<int>(stream.decode(tables, rows.data(), rows.size(), symbols.data()));
    }

    Array<uint8_t> data;
    StreamDecoder stream;
};

int64_t count_coded_rows(const PackedTables& tables, Array<uint16_t> rows) {
    nb::gil_scoped_release unlocked;
    if (!rows_are_valid(tables, rows.data(), rows.size())) return -1;
    return static_cast<int64_t>(count_coded(tables, rows.data(), rows.size()));
}

nb::object encode(const PackedTables& tables, Array<int16_t> symbols, Array<uint16_t> rows, uint32_t lanes) {
    require_equal(rows.size(), symbols.size());
    if (lanes < 1 || lanes > kMaxLanes || (lanes & (lanes - 1)) != 0) throw std::invalid_argument("lanes");
    StreamEncoder encoder(tables, lanes);
    Status status;
    {
        nb::gil_scoped_release unlocked;
        status = encoder.encode(symbols.data(), rows.data(), rows.size());
    }
    if (status != Status::ok) return nb::int_(static_cast<int>(status));
    nb::object stream = nb::steal(PyBytes_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(encoder.size_bytes())));
    if (!stream.is_valid()) nb::raise_python_error();
    encoder.write(reinterpret_cast<uint8_t*>(PyBytes_AsString(stream.ptr())));
    return stream;
}

}  // namespace

NB_MODULE(_rans, module) {
    nb::set_leak_warnings(false);  // tables live as long as the process
    nb::class_<PackedTables>(module, "Tables")
        .def(
            "__init__",
            [](PackedTables* self, int precision, double fewest_bits, Array<int32_t> offsets, Array<int32_t> row_starts,
               Array<uint16_t> cumulative) {
                require_equal(offsets.size() + 1, row_starts.size());
                new (self) PackedTables(precision, fewest_bits, offsets.data(), row_starts.data(), offsets.size(),
                                        cumulative.data());
            },
            "precision"_a, "fewest_bits"_a, "offsets"_a, "row_starts"_a, "cumulative"_a);

    nb::class_<Decoder>(module, "Decoder")
        .def(nb::init<Array<uint8_t>>(), "data"_a)
        .def_prop_ro("status", [](const Decoder& self) { return static_cast<int>(self.stream.status()); })
        .def("admit", &Decoder::admit, "tables"_a, "rows"_a)
        .def("decode", &Decoder::decode, "tables"_a, "rows"_a, "symbols"_a.noconvert())
        .def("finish", [](const Decoder& self) { return static_cast<int>(self.stream.finish()); });

    module.def("count_coded", &count_coded_rows, "tables"_a, "rows"_a);
    module.def("encode", &encode, "tables"_a, "symbols"_a, "rows"_a, "lanes"_a);
}
