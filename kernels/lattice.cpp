// The Python face of the lattice bottleneck: rarefy.entropy.lattice_coding calls it with NumPy arrays.
#include "lattice.h"

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <array>
#include <memory>
#include <stdexcept>
#include <string>

#include "lattice_groups.h"
#include "parallel.h"

namespace nb = nanobind;
using namespace nb::literals;
using namespace rarefy;

namespace rarefy {
#if defined(RAREFY_X86)
extern const LatticeLoops kAvx512Lattice, kAvx2Lattice;
#endif
}  // namespace rarefy

namespace {

template <typename T, int kDimensions>
using Array = nb::ndarray<const T, nb::ndim<kDimensions>, nb::c_contig, nb::device::cpu>;
using Latents = nb::ndarray<int16_t, nb::ndim<3>, nb::c_contig, nb::device::cpu>;
using InLatents = Array<int16_t, 3>;

void require(bool is_met, const char* what) {
    if (!is_met) throw std::invalid_argument(what);
}

// The loops that this processor has, the best first. Beyond them each unit is decoded alone.
std::vector<const LatticeLoops*> all_loops() {
    std::vector<const LatticeLoops*> found;
#if defined(RAREFY_X86)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512vnni"))
        found.push_back(&kAvx512Lattice);
    if (__builtin_cpu_supports("avx2")) found.push_back(&kAvx2Lattice);
#endif
    return found;
}

constexpr const char* kAlone = "plain";

std::vector<std::string> instruction_sets() {
    std::vector<std::string> names;
    for (const LatticeLoops* loops : all_loops()) names.emplace_back(loops->name);
    names.emplace_back(kAlone);
    return names;
}

// Null for units alone.
const LatticeLoops* find_loops(const std::string& name) {
    static const std::vector<const LatticeLoops*> found = all_loops();
    for (const LatticeLoops* loops : found)
        if (name == loops->name) return loops;
    require(name == kAlone, "this processor or build has no such instruction set");
    return nullptr;
}

std::vector<Term> terms_of(const Array<int16_t, 3>& weights, size_t step, size_t channel) {
    std::vector<Term> terms;
    const int16_t* row = weights.data() + (step * weights.shape(1) + channel) * weights.shape(2);
    for (size_t i = 0; i < weights.shape(2); ++i)
        if (row[i]) terms.push_back({static_cast<uint16_t>(i), row[i]});
    return terms;
}

PackedTables packed(int precision, double fewest_bits, const Array<int32_t, 1>& offsets,
                    const Array<int32_t, 1>& row_starts, const Array<uint16_t, 1>& cumulative) {
    require(offsets.size() + 1 == row_starts.size(), "tables that do not fit");
    return PackedTables(precision, fewest_bits, offsets.data(), row_starts.data(), offsets.size(), cumulative.data(),
                        nullptr, kBucketBits);
}

struct Model {
    LatticeModel model;
    std::unique_ptr<LatticeGroups> groups;

    Model(const Model&) = delete;  // groups point into the model
    Model& operator=(const Model&) = delete;

    Model(const Array<int16_t, 3>& means, const Array<int16_t, 3>& means_across, const Array<int16_t, 3>& scales,
          const Array<int16_t, 3>& differences, const Array<int16_t, 3>& scales_across, int32_t least, int32_t most,
          int32_t first_index, int precision, double fewest_bits, const Array<int32_t, 1>& offsets,
          const Array<int32_t, 1>& row_starts, const Array<uint16_t, 1>& cumulative)
        : model(packed(precision, fewest_bits, offsets, row_starts, cumulative), means.shape(1), least, most, first_index) {
        const size_t steps = means.shape(0), channels = means.shape(1);
        require(channels <= UINT16_MAX / kNeighbours, "more channels than places of weights");
        const auto fits = [&](const Array<int16_t, 3>& weights, size_t inputs) {
            require(weights.shape(0) == steps && weights.shape(1) == channels && weights.shape(2) == inputs,
                    "weights of another shape");
        };
        fits(means, kNeighbours * channels);
        fits(scales, kNeighbours * channels);
        fits(differences, kNeighbours / 2 * channels);
        fits(means_across, channels);
        fits(scales_across, channels);
        for (size_t step = 0; step < steps; ++step)
            for (size_t c = 0; c < channels; ++c)
                model.add({terms_of(means, step, c), terms_of(means_across, step, c), terms_of(scales, step, c),
                           terms_of(differences, step, c), terms_of(scales_across, step, c)});
        require(model.rows_fit(), "fewer tables than scales");
        groups = std::make_unique<LatticeGroups>(model.tables(), model.terms(), channels, least, most, first_index);
    }

    Geometry geometry(const Array<int32_t, 1>& own, const Array<int32_t, 1>& neighbours, const Array<int32_t, 1>& counts,
                      size_t positions) const {
        require(counts.size() == model.steps() && own.size() == positions, "places of another unit");
        size_t all = 0;
        for (size_t step = 0; step < counts.size(); ++step) {
            require(counts.data()[step] >= 0, "places of another unit");
            all += static_cast<size_t>(counts.data()[step]);
        }
        const auto first = static_cast<size_t>(counts.data()[0]);
        require(all == positions && neighbours.size() == kNeighbours * (all - first), "places of another unit");
        const auto limit = static_cast<int32_t>(positions);
        for (size_t i = 0; i < own.size(); ++i) require(own.data()[i] >= 0 && own.data()[i] < limit, "a place outside");
        for (size_t i = 0; i < neighbours.size(); ++i)
            require(neighbours.data()[i] >= 0 && neighbours.data()[i] <= limit, "a place outside");
        return {own.data(), neighbours.data(), counts.data(), positions};
    }
};

// Units that are decoded at once: in lockstep, or one alone.
using Job = std::vector<LatticeUnit>;

// Units in groups of equal numbers of lanes; those that are too few for lockstep to be worth it, or too long, alone.
std::vector<Job> jobs_of(const std::vector<LatticeUnit>& units, const LatticeLoops* loops) {
    std::vector<Job> jobs;
    std::array<Job, kLongestLanesCode + 1> waiting;
    const auto alone = [&jobs](const LatticeUnit& unit) { jobs.push_back({unit}); };
    for (const LatticeUnit& unit : units) {
        if (loops == nullptr || unit.size < 1 || unit.data[0] > kLongestLanesCode || unit.size > kLongestInLockstep) {
            alone(unit);
            continue;
        }
        Job& some = waiting[unit.data[0]];
        some.push_back(unit);
        if (some.size() == kUnits) jobs.push_back(std::exchange(some, {}));
    }
    for (Job& some : waiting) {
        if (loops != nullptr && some.size() >= loops->fewest) jobs.push_back(std::move(some));
        else std::for_each(some.begin(), some.end(), alone);
    }
    return jobs;
}

// Decode units of one shape and quality: streams to latents [B, C, positions]; gives the status of each.
std::vector<int> decode(const Model& self, const std::vector<Array<uint8_t, 1>>& streams, const Array<int32_t, 1>& own,
                        const Array<int32_t, 1>& neighbours, const Array<int32_t, 1>& counts,
                        const Array<int32_t, 2>& start, const Latents& latents, int threads,
                        const std::string& instruction_set) {
    const size_t channels = self.model.channels(), positions = latents.shape(2);
    require(latents.shape(0) == streams.size() && latents.shape(1) == channels, "latents of another shape");
    require(start.shape(0) == self.model.steps() && start.shape(1) == channels, "starts of another shape");
    const Geometry geometry = self.geometry(own, neighbours, counts, positions);
    const LatticeLoops* wanted = find_loops(instruction_set);
    const LatticeLoops* loops = self.model.tables().has_certain ? nullptr : wanted;  // these take no part in a stream
    std::vector<Status> statuses(streams.size());
    std::vector<LatticeUnit> units;
    for (size_t i = 0; i < streams.size(); ++i)
        units.push_back({streams[i].data(), streams[i].size(), latents.data() + i * channels * positions, &statuses[i]});
    nb::gil_scoped_release unlocked;
    const std::vector<Job> jobs = jobs_of(units, loops);
    in_parallel(static_cast<int64_t>(jobs.size()), threads, [&](const auto& next) {
        for (int64_t i = next(); i >= 0; i = next()) {
            const Job& job = jobs[static_cast<size_t>(i)];
            if (job.size() > 1) self.groups->decode(*loops, job.data(), job.size(), geometry, start.data());
            else *job[0].status = self.model.decode(job[0].data, job[0].size, geometry, start.data(), job[0].latents);
        }
    });
    std::vector<int> numbers;
    for (const Status status : statuses) numbers.push_back(static_cast<int>(status));
    return numbers;
}

// Symbols and rows of one unit's latents [1, C, positions], in the order of coding.
bool prepare(const Model& self, const InLatents& latents, const Array<int32_t, 1>& own,
             const Array<int32_t, 1>& neighbours, const Array<int32_t, 1>& counts, const Array<int32_t, 2>& start,
             const nb::ndarray<int16_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>& symbols,
             const nb::ndarray<uint16_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>& rows) {
    const size_t channels = self.model.channels(), positions = latents.shape(2);
    require(latents.shape(0) == 1 && latents.shape(1) == channels, "latents of another shape");
    require(symbols.size() == channels * positions && rows.size() == symbols.size(), "arrays of different lengths");
    require(start.shape(0) == self.model.steps() && start.shape(1) == channels, "starts of another shape");
    const Geometry geometry = self.geometry(own, neighbours, counts, positions);
    nb::gil_scoped_release unlocked;
    return self.model.prepare(geometry, start.data(), latents.data(), symbols.data(), rows.data());
}

}  // namespace

NB_MODULE(_lattice, module) {
    nb::set_leak_warnings(false);  // models live as long as the process
    module.def("instruction_sets", &instruction_sets);
    nb::class_<Model>(module, "Model")
        .def(nb::init<const Array<int16_t, 3>&, const Array<int16_t, 3>&, const Array<int16_t, 3>&,
                      const Array<int16_t, 3>&, const Array<int16_t, 3>&, int32_t, int32_t, int32_t, int, double,
                      const Array<int32_t, 1>&, const Array<int32_t, 1>&, const Array<uint16_t, 1>&>(),
             "means"_a, "means_across"_a, "scales"_a, "differences"_a, "scales_across"_a, "least"_a, "most"_a,
             "first_index"_a, "precision"_a, "fewest_bits"_a, "offsets"_a, "row_starts"_a, "cumulative"_a)
        .def("decode", &decode, "streams"_a, "own"_a, "neighbours"_a, "counts"_a, "start"_a, "latents"_a.noconvert(),
             "threads"_a, "instruction_set"_a)
        .def("prepare", &prepare, "latents"_a, "own"_a, "neighbours"_a, "counts"_a, "start"_a, "symbols"_a.noconvert(),
             "rows"_a.noconvert());
}
