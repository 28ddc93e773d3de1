// The Python face of the integer layers: rarefy.entropy.runner calls it with NumPy arrays of bytes.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <limits>
#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#include "int8_layer.h"
#include "int8_work.h"

namespace nb = nanobind;
using namespace nb::literals;
using namespace rarefy;

namespace {

template <typename T, int kDimensions>
using Array = nb::ndarray<const T, nb::ndim<kDimensions>, nb::c_contig, nb::device::cpu>;
using Bytes = nb::ndarray<const int8_t, nb::ndim<4>, nb::device::cpu>;
using OutBytes = nb::ndarray<int8_t, nb::ndim<4>, nb::device::cpu>;
using Constant = nb::ndarray<const int8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Dense = std::tuple<const Layer*, Bytes, std::optional<Bytes>, std::optional<Constant>, OutBytes>;

void require(bool is_met, const char* what) {
    if (!is_met) throw std::invalid_argument(what);
}

int32_t narrow(size_t value) {
    require(value <= size_t{std::numeric_limits<int32_t>::max()}, "an array beyond 2^31");
    return static_cast<int32_t>(value);
}

template <typename Array>
Shape shape_of(const Array& array) {
    return {narrow(array.shape(0)), narrow(array.shape(1)), narrow(array.shape(2))};
}

template <typename Byte, typename Array>
Grid<Byte> grid(const Array& array, const Shape& shape, int32_t channels) {
    const Shape own = shape_of(array);
    require(own.batch == shape.batch && own.height == shape.height && own.width == shape.width, "arrays of other sizes");
    require(narrow(array.shape(3)) == channels, "an array of other channels than its layer's");
    require(channels <= 1 || array.stride(3) == 1, "channels that do not lie side by side");
    return {array.data(), array.stride(0), array.stride(1), array.stride(2)};
}

const InstructionSet& find(const std::string& name) {
    for (const InstructionSet* set : instruction_sets())
        if (name == set->name) return *set;
    throw std::invalid_argument("this processor or build has no instruction set " + name);
}

DenseJob dense_job(const Dense& dense) {
    const auto& [layer, x, added, constant, out] = dense;
    const Shape shape = shape_of(x);
    DenseJob job{layer->view(), shape, grid<const int8_t>(x, shape, layer->inputs()), {}, nullptr,
                 grid<int8_t>(out, shape, layer->outputs())};
    if (added) job.added = grid<const int8_t>(*added, shape, layer->outputs());
    if (constant) {
        require(narrow(constant->size()) == layer->outputs(), "a constant of other channels than its layer's");
        job.constant = constant->data();
    }
    return job;
}

void dense(const std::vector<Dense>& layers, int threads) {
    std::vector<DenseJob> jobs;
    for (const Dense& one : layers) {
        require(std::get<0>(one) != nullptr, "a layer that is none");
        jobs.push_back(dense_job(one));
        require(&std::get<0>(one)->set() == &std::get<0>(layers[0])->set(), "layers of different instruction sets");
    }
    if (jobs.empty()) return;
    nb::gil_scoped_release unlocked;
    run(std::get<0>(layers[0])->set(), jobs, threads);
}

void block(const Layer& spatial, const Layer& expand, const Layer& reduce, const Bytes& x, const OutBytes& out,
           int threads) {
    const Shape shape = shape_of(x);
    const int32_t channels = expand.inputs();
    require(spatial.inputs() == 9 * spatial.outputs() && spatial.outputs() <= channels, "a spatial layer that does not fit");
    require(reduce.inputs() == expand.outputs() && reduce.outputs() == channels, "a reducing layer that does not fit");
    require(&spatial.set() == &expand.set() && &expand.set() == &reduce.set(), "layers of different instruction sets");
    const BlockJob job{spatial.view(), expand.view(), reduce.view(), shape, grid<const int8_t>(x, shape, channels),
                       grid<int8_t>(out, shape, channels)};
    nb::gil_scoped_release unlocked;
    run(spatial.set(), job, threads);
}

Layer make_layer(const std::string& set, const Array<int8_t, 2>& weight, const Array<int32_t, 1>& bias,
                 const Array<uint8_t, 1>& shift, int32_t low, int32_t high, bool is_unsigned) {
    require(bias.size() == weight.shape(0) && shift.size() == weight.shape(0), "biases or shifts of other numbers");
    for (size_t i = 0; i < shift.size(); ++i)
        require(shift.data()[i] >= 1 && shift.data()[i] <= 23, "a shift beyond 1 to 23");
    return Layer(find(set), weight.data(), bias.data(), shift.data(), narrow(weight.shape(0)), narrow(weight.shape(1)),
                 low, high, is_unsigned);
}

Layer with_bias(const Layer& layer, const Array<int32_t, 1>& bias) {
    require(narrow(bias.size()) == layer.outputs(), "biases of another number");
    return layer.with_bias(bias.data());
}

}  // namespace

NB_MODULE(_int8, module) {
    nb::set_leak_warnings(false);  // layers live as long as the process
    nb::class_<Layer>(module, "Layer")
        .def_prop_ro("inputs", &Layer::inputs)
        .def_prop_ro("outputs", &Layer::outputs)
        .def("with_bias", &with_bias, "bias"_a);
    module.def("layer", &make_layer, "instruction_set"_a, "weight"_a, "bias"_a, "shift"_a, "low"_a, "high"_a,
               "is_unsigned"_a);
    module.def("dense", &dense, "layers"_a.noconvert(), "threads"_a);
    module.def("block", &block, "spatial"_a, "expand"_a, "reduce"_a, "x"_a.noconvert(), "out"_a.noconvert(), "threads"_a);
    module.def("instruction_sets", [] {
        std::vector<std::string> names;
        for (const InstructionSet* set : instruction_sets()) names.emplace_back(set->name);
        return names;
    });
}
