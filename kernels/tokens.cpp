// The Python face of the token coder. It reports a Status as an integer; rarefy.entropy.tokens makes it an exception.
#include "tokens.h"

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <stdexcept>
#include <vector>

namespace nb = nanobind;
using namespace nb::literals;
using rarefy::tokens::Model;

namespace {

template <typename T>
using Array = nb::ndarray<const T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using OutArray = nb::ndarray<uint16_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

template <typename T>
std::vector<T> copied(const Array<T>& array) {
    return std::vector<T>(array.data(), array.data() + array.size());
}

Model make_model(uint32_t alphabet, int member_bits, uint32_t groups, Array<uint8_t> classes, Array<uint16_t> contexts,
                 Array<int16_t> rows, Array<uint32_t> counts) {
    const size_t width = size_t{1} << member_bits;
    size_t side = 1;
    while (side * side < contexts.size()) ++side;
    const bool fits = classes.size() == alphabet && side * side == contexts.size() && counts.size() % width == 0 &&
                      rows.size() == counts.size() / width * (width + 1);
    if (!fits) throw std::invalid_argument("arrays of a token model that do not belong together");
    return {alphabet,        member_bits,      groups,       static_cast<uint32_t>(side - 1),
            copied(classes), copied(contexts), copied(rows), copied(counts)};
}

int decode(const Model& model, Array<uint8_t> data, OutArray tokens, size_t grid_width) {
    if (tokens.size() == 0) throw std::invalid_argument("no tokens to decode");
    nb::gil_scoped_release unlocked;
    return static_cast<int>(rarefy::tokens::for_width(model, [&](auto bits) {
        return rarefy::tokens::decode<bits>(model, data.data(), data.size(), grid_width, tokens.data(), tokens.size());
    }));
}

nb::bytes encode(const Model& model, Array<uint16_t> tokens, size_t grid_width) {
    if (tokens.size() == 0) throw std::invalid_argument("no tokens to encode");
    std::vector<uint8_t> stream;
    {
        nb::gil_scoped_release unlocked;
        stream = rarefy::tokens::for_width(model, [&](auto bits) {
            return rarefy::tokens::encode<bits>(model, tokens.data(), tokens.size(), grid_width);
        });
    }
    return nb::bytes(stream.data(), stream.size());
}

}  // namespace

NB_MODULE(_tokens, module) {
    nb::set_leak_warnings(false);  // models live as long as the process
    nb::class_<Model>(module, "Model")
        .def(
            "__init__",
            [](Model* self, uint32_t alphabet, int member_bits, uint32_t groups, Array<uint8_t> classes,
               Array<uint16_t> contexts, Array<int16_t> rows, Array<uint32_t> counts) {
                new (self) Model(make_model(alphabet, member_bits, groups, classes, contexts, rows, counts));
            },
            "alphabet"_a, "member_bits"_a, "groups"_a, "classes"_a, "contexts"_a, "rows"_a, "counts"_a);
    module.def("decode", &decode, "model"_a, "data"_a, "tokens"_a.noconvert(), "grid_width"_a);
    module.def("encode", &encode, "model"_a, "tokens"_a, "grid_width"_a);
}
