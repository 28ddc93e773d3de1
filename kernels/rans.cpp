// The Python face of the coder. It reports a Status as an integer; rarefy.entropy.coder turns it into an exception.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#include "decoder.h"
#include "encoder.h"
#include "parallel.h"
#include "tables.h"

namespace nb = nanobind;
using namespace nb::literals;
using namespace rarefy;

namespace rarefy {
#if defined(RAREFY_X86)
extern const Loops kAvx512Loops;
#endif
}  // namespace rarefy

namespace {

template <typename T>
using Array = nb::ndarray<const T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using AnyArray = nb::ndarray<nb::ro, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using OutArray = nb::ndarray<nb::ndim<1>, nb::c_contig, nb::device::cpu>;

void require(bool is_met, const char* what) {
    if (!is_met) throw std::invalid_argument(what);
}

void require_equal(size_t left, size_t right) { require(left == right, "arrays of different lengths"); }

RowView view_rows(const AnyArray& rows) {
    if (rows.dtype() == nb::dtype<uint8_t>()) return static_cast<const uint8_t*>(rows.data());
    require(rows.dtype() == nb::dtype<uint16_t>(), "rows must be uint8 or uint16");
    return static_cast<const uint16_t*>(rows.data());
}

SymbolView view_symbols(const AnyArray& symbols) {
    if (symbols.dtype() == nb::dtype<int32_t>()) return static_cast<const int32_t*>(symbols.data());
    require(symbols.dtype() == nb::dtype<int16_t>(), "symbols must be int16 or int32");
    return static_cast<const int16_t*>(symbols.data());
}

SymbolSink sink_of(const OutArray& symbols) {
    if (symbols.dtype() == nb::dtype<int32_t>()) return static_cast<int32_t*>(symbols.data());
    require(symbols.dtype() == nb::dtype<int16_t>(), "symbols must be int16 or int32");
    return static_cast<int16_t*>(symbols.data());
}

// The loops that this processor has, the best first.
std::vector<const Loops*> all_loops() {
    std::vector<const Loops*> found;
#if defined(RAREFY_X86)
    __builtin_cpu_init();
    const bool has_avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                            __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
                            __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512vbmi2") &&
                            __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("popcnt");
    if (has_avx512) found.push_back(&kAvx512Loops);
#endif
    found.push_back(&plain::kLoops);
    return found;
}

std::vector<std::string> instruction_sets() {
    std::vector<std::string> names;
    for (const Loops* loops : all_loops()) names.emplace_back(loops->name);
    return names;
}

const Loops& find_loops(const std::string& name) {
    static const std::vector<const Loops*> found = all_loops();
    for (const Loops* loops : found)
        if (name == loops->name) return *loops;
    throw std::invalid_argument("this processor or build has no instruction set " + name);
}

// Holds the array that the decoder points into.
struct Decoder {
    Decoder(Array<uint8_t> bytes, const std::string& instruction_set)
        : data(bytes), stream(data.data(), data.size(), find_loops(instruction_set)) {}

    int admit(const PackedTables& tables, const AnyArray& rows) const {
        const RowView view = view_rows(rows);
        nb::gil_scoped_release unlocked;
        return static_cast<int>(stream.admit(tables, view, rows.size()));
    }

    Array<uint8_t> data;
    StreamDecoder stream;
};

// Call work(i) for each of `count`, side by side.
template <class Work>
void for_each(size_t count, int threads, const Work& work) {
    nb::gil_scoped_release unlocked;
    in_parallel(static_cast<int64_t>(count), threads, [&](const auto& next) {
        for (int64_t i = next(); i >= 0; i = next()) work(static_cast<size_t>(i));
    });
}

using Burst = std::tuple<Decoder*, const PackedTables*, AnyArray, OutArray>;

// One burst of each of several streams, side by side.
std::vector<int> decode(const std::vector<Burst>& bursts, int threads) {
    std::vector<std::pair<RowView, SymbolSink>> views;
    for (const auto& [decoder, tables, rows, symbols] : bursts) {
        require(decoder != nullptr && tables != nullptr, "a burst without a decoder or tables");
        require_equal(rows.size(), symbols.size());
        views.emplace_back(view_rows(rows), sink_of(symbols));
    }
    std::vector<int> codes(bursts.size());
    for_each(bursts.size(), threads, [&](size_t i) {
        const auto& [decoder, tables, rows, symbols] = bursts[i];
        codes[i] = static_cast<int>(decoder->stream.decode(*tables, views[i].first, rows.size(), views[i].second));
    });
    return codes;
}

using Part = std::tuple<const PackedTables*, AnyArray, AnyArray>;  // tables, symbols, rows
using Message = std::vector<Part>;

struct PartView {
    const PackedTables& tables;
    SymbolView symbols;
    RowView rows;
    size_t count;
};

std::vector<PartView> view_message(const Message& message) {
    require(!message.empty(), "a message without parts");
    std::vector<PartView> parts;
    for (const auto& [tables, symbols, rows] : message) {
        require(tables != nullptr, "a part without tables");
        require_equal(symbols.size(), rows.size());
        parts.push_back({*tables, view_symbols(symbols), view_rows(rows), rows.size()});
    }
    return parts;
}

struct Encoding {
    std::unique_ptr<StreamEncoder> encoder;
    Status status = Status::ok;
};

Encoding encode_parts(const std::vector<PartView>& parts, uint32_t lanes, const Loops& loops) {
    auto encoder = std::make_unique<StreamEncoder>(parts.front().tables, lanes, loops);
    for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
        const Status status = encoder->prepend(part->tables, part->symbols, part->rows, part->count);
        if (status != Status::ok) return {nullptr, status};
    }
    return {std::move(encoder), Status::ok};
}

// In 1/256 bit; 0 for rows beyond the tables, which encoding refuses.
uint64_t expect(const std::vector<PartView>& parts) {
    uint64_t bits = 0;
    for (const PartView& part : parts) {
        if (!rows_are_valid(part.tables, part.rows, part.count)) return 0;
        const uint16_t* of_row = part.tables.expected_bits.data();
        part.rows.walk(part.count, [&](size_t row) { bits += of_row[row]; });
    }
    return bits;
}

nb::object stream_of(const Encoding& encoding) {
    if (encoding.status != Status::ok) return nb::int_(static_cast<int>(encoding.status));
    const auto size = static_cast<Py_ssize_t>(encoding.encoder->size_bytes());
    nb::object stream = nb::steal(PyBytes_FromStringAndSize(nullptr, size));
    if (!stream.is_valid()) nb::raise_python_error();
    encoding.encoder->write(reinterpret_cast<uint8_t*>(PyBytes_AsString(stream.ptr())));
    return stream;
}

std::vector<std::vector<PartView>> view_messages(const std::vector<Message>& messages) {
    std::vector<std::vector<PartView>> views;
    for (const Message& message : messages) views.push_back(view_message(message));
    return views;
}

std::vector<uint64_t> expected_bits(const std::vector<Message>& messages, int threads) {
    const auto views = view_messages(messages);
    std::vector<uint64_t> bits(views.size());
    for_each(views.size(), threads, [&](size_t i) { bits[i] = expect(views[i]); });
    return bits;
}

// Each message into a stream of its own.
nb::list encode(const std::vector<Message>& messages, const std::vector<uint32_t>& lanes, int threads,
                const std::string& instruction_set) {
    require_equal(messages.size(), lanes.size());
    for (const uint32_t n : lanes) require(n >= 1 && n <= kMaxLanes && (n & (n - 1)) == 0, "lanes");
    const Loops& loops = find_loops(instruction_set);
    const auto views = view_messages(messages);
    std::vector<Encoding> encodings(views.size());
    for_each(views.size(), threads, [&](size_t i) { encodings[i] = encode_parts(views[i], lanes[i], loops); });
    nb::list streams;
    for (const Encoding& encoding : encodings) streams.append(stream_of(encoding));
    return streams;
}

}  // namespace

NB_MODULE(_rans, module) {
    nb::set_leak_warnings(false);  // tables live as long as the process
    nb::class_<PackedTables>(module, "Tables")
        .def(
            "__init__",
            [](PackedTables* self, int precision, double fewest_bits, Array<int32_t> offsets, Array<int32_t> row_starts,
               Array<uint16_t> cumulative, Array<uint16_t> expected_bits) {
                require_equal(offsets.size() + 1, row_starts.size());
                require_equal(offsets.size(), expected_bits.size());
                new (self) PackedTables(precision, fewest_bits, offsets.data(), row_starts.data(), offsets.size(),
                                        cumulative.data(), expected_bits.data());
            },
            "precision"_a, "fewest_bits"_a, "offsets"_a, "row_starts"_a, "cumulative"_a,
            "expected_bits"_a);

    nb::class_<Decoder>(module, "Decoder")
        .def(nb::init<Array<uint8_t>, const std::string&>(), "data"_a, "instruction_set"_a)
        .def_prop_ro("status", [](const Decoder& self) { return static_cast<int>(self.stream.status()); })
        .def("admit", &Decoder::admit, "tables"_a, "rows"_a)
        .def("finish", [](const Decoder& self) { return static_cast<int>(self.stream.finish()); });

    module.def("instruction_sets", &instruction_sets);
    module.def("decode", &decode, "bursts"_a, "threads"_a);
    module.def("expected_bits", &expected_bits, "messages"_a, "threads"_a);
    module.def("encode", &encode, "messages"_a, "lanes"_a, "threads"_a, "instruction_set"_a);
}
