// The integer layers, in every instruction set that the processor has.
#include <string>
#include <vector>

#include "int8_layer.h"
#include "int8_work.h"
#include "records.h"

namespace replay {
namespace {

using namespace rarefy;
using Bytes = Array<int8_t>;

struct Numbers {
    Bytes weight;
    Array<int32_t> bias;
    Array<uint8_t> shift;
    int64_t low, high, is_unsigned;

    explicit Numbers(Records& records)
        : weight(records.array<int8_t>()),
          bias(records.array<int32_t>()),
          shift(records.array<uint8_t>()),
          low(records.number()),
          high(records.number()),
          is_unsigned(records.number()) {}

    Layer pack(const InstructionSet& set) const {
        return Layer(set, weight.data(), bias.data(), shift.data(), static_cast<int32_t>(weight.shape[0]),
                     static_cast<int32_t>(weight.shape[1]), static_cast<int32_t>(low), static_cast<int32_t>(high),
                     is_unsigned != 0);
    }
};

// Where in a longer array a grid lies: its start and three strides.
struct Place {
    Array<int64_t> numbers;

    explicit Place(Records& records) : numbers(records.array<int64_t>()) {}

    template <typename Byte>
    Grid<Byte> in(Byte* base) const {
        return {base + numbers.values[0], static_cast<ptrdiff_t>(numbers.values[1]),
                static_cast<ptrdiff_t>(numbers.values[2]), static_cast<ptrdiff_t>(numbers.values[3])};
    }
};

Shape shape(const Array<int64_t>& numbers) {
    return {static_cast<int32_t>(numbers.values[0]), static_cast<int32_t>(numbers.values[1]),
            static_cast<int32_t>(numbers.values[2])};
}

struct Dense {
    Numbers numbers;
    Array<int64_t> extents;
    Bytes x;
    Place x_place;
    Bytes added;  // empty where nothing is added
    Place added_place;
    Bytes constant;  // the same
    Place out_place;

    explicit Dense(Records& records)
        : numbers(records),
          extents(records.array<int64_t>()),
          x(records.array<int8_t>()),
          x_place(records),
          added(records.array<int8_t>()),
          added_place(records),
          constant(records.array<int8_t>()),
          out_place(records) {}

    DenseJob job(const Layer& layer, int8_t* out) const {
        DenseJob job{layer.view(), shape(extents), x_place.in(x.data()), {}, nullptr, out_place.in(out)};
        if (added.size() > 0) job.added = added_place.in(added.data());
        if (constant.size() > 0) job.constant = constant.data();
        return job;
    }
};

// What is written, and where nothing may be.
void require_written(const Bytes& found, const Bytes& expected, const InstructionSet& set) {
    require_same(found.data(), expected, (std::string(set.name) + ": other integers").c_str());
}

}  // namespace

void check_dense(Records& records) {
    const auto threads = static_cast<int>(records.number());
    std::vector<Dense> all;
    for (int64_t left = records.number(); left > 0; --left) all.emplace_back(records);
    const Bytes before = records.array<int8_t>(), expected = records.array<int8_t>();
    for (const InstructionSet* set : instruction_sets()) {
        Bytes out = before;
        std::vector<Layer> layers;
        std::vector<DenseJob> jobs;
        for (const Dense& dense : all) layers.push_back(dense.numbers.pack(*set));
        for (size_t i = 0; i < all.size(); ++i) jobs.push_back(all[i].job(layers[i], out.values.data()));
        run(*set, jobs, threads);
        require_written(out, expected, *set);
    }
}

void check_block(Records& records) {
    const auto threads = static_cast<int>(records.number());
    const Numbers spatial(records), expand(records), reduce(records);
    const Array<int64_t> extents = records.array<int64_t>();
    const Bytes x = records.array<int8_t>();
    const Place x_place(records), out_place(records);
    const Bytes before = records.array<int8_t>(), expected = records.array<int8_t>();
    for (const InstructionSet* set : instruction_sets()) {
        Bytes out = before;
        const Layer layers[3] = {spatial.pack(*set), expand.pack(*set), reduce.pack(*set)};
        const BlockJob job{layers[0].view(), layers[1].view(),      layers[2].view(),
                           shape(extents),   x_place.in(x.data()), out_place.in(out.values.data())};
        run(*set, job, threads);
        require_written(out, expected, *set);
    }
}

}  // namespace replay
