// The layers' arithmetic, once for all instruction sets: int8_plain.cpp, int8_avx2.cpp and so on give `Isa`.
//
// Everything here is in an unnamed namespace and uses no template of the standard library: these files are compiled for
// different processors, and the linker must not take one's function for another's.
#pragma once

#include "int8.h"

namespace rarefy {
namespace {

constexpr int32_t padded(int32_t count, int32_t to) { return (count + to - 1) / to * to; }

inline int32_t clamped(int32_t value, int32_t low, int32_t high) {
    value = value < low ? low : value;
    return value > high ? high : value;
}

// A place in a batch, and the one after it.
struct Position {
    int32_t batch, row, column;

    Position(const Shape& shape, int64_t index)
        : batch(static_cast<int32_t>(index / (int64_t{shape.height} * shape.width))),
          row(static_cast<int32_t>(index / shape.width % shape.height)),
          column(static_cast<int32_t>(index % shape.width)) {}

    void advance(const Shape& shape) {
        if (++column < shape.width) return;
        column = 0;
        if (++row < shape.height) return;
        row = 0;
        ++batch;
    }
};

template <class Isa>
struct Tiles {
    using Input = typename Isa::Input;
    using Weight = typename Isa::Weight;
    using Vector = typename Isa::Vector;
    using Factors = decltype(Isa::load(nullptr));  // what is multiplied: kGroup for each of a vector's sums
    static constexpr int32_t kRows = Isa::kRows;
    static constexpr int32_t kTile = Isa::kTile;
    static_assert(kTile % kRows == 0, "a tile has whole groups of rows");
    static_assert(Isa::kLanes <= kMostLanes && Isa::kGroup <= kMostGroup, "packing leaves room for these");

    // Inputs of one tile, a row each, aligned and padded to whole groups.
    struct Matrix {
        Input* data;
        int32_t stride;

        Input* row(int32_t index) const { return data + index * stride; }
    };

    static int32_t stride_of(int32_t inputs) { return padded(inputs, kAlignment); }
    static size_t bytes_of(int32_t inputs) { return size_t{kTile} * stride_of(inputs) * sizeof(Input); }

    static Matrix take(void*& scratch, int32_t inputs) {
        Matrix matrix{static_cast<Input*>(scratch), stride_of(inputs)};
        scratch = static_cast<char*>(scratch) + bytes_of(inputs);
        return matrix;
    }

    static void copy(Input* to, const int8_t* from, int32_t count) {
        for (int32_t i = 0; i < count; ++i) to[i] = static_cast<Input>(from[i] + Isa::kInputOffset);
    }

    // What is multiplied though it is no input: the rest of the last group, whose weights are 0, and rows beyond the
    // last position, whose sums nobody stores.
    static void clear_edges(const Matrix& matrix, int32_t inputs, int32_t rows) {
        const int32_t end = padded(inputs, Isa::kGroup);
        for (int32_t row = 0; row < padded(rows, kRows); ++row)
            for (int32_t i = row < rows ? inputs : 0; i < end; ++i) matrix.row(row)[i] = 0;
    }

    // Sums of kRows rows with one panel, to totals [kRows][kVectors * lanes].
    template <int32_t kVectors>
    static void multiply(const Matrix& x, int32_t first_row, const Weight* weights, int32_t groups, int32_t* totals) {
        Vector sums[kRows][kVectors];
        for (int32_t r = 0; r < kRows; ++r)
            for (int32_t v = 0; v < kVectors; ++v) sums[r][v] = Isa::zero();
        const Input* rows[kRows];
        for (int32_t r = 0; r < kRows; ++r) rows[r] = x.row(first_row + r);
        for (int32_t g = 0; g < groups; ++g) {
            Factors w[kVectors];
            for (int32_t v = 0; v < kVectors; ++v) w[v] = Isa::load(weights + v * Isa::kLanes * Isa::kGroup);
            weights += kVectors * Isa::kLanes * Isa::kGroup;
            for (int32_t r = 0; r < kRows; ++r) {
                const Factors input = Isa::broadcast(rows[r] + g * Isa::kGroup);
                for (int32_t v = 0; v < kVectors; ++v) sums[r][v] = Isa::dot(sums[r][v], input, w[v]);
            }
        }
        for (int32_t r = 0; r < kRows; ++r)
            for (int32_t v = 0; v < kVectors; ++v) Isa::store(totals + (r * kVectors + v) * Isa::kLanes, sums[r][v]);
    }

    // Round the sums of one row to the layer's integers.
    template <int32_t kCount>
    static void requantise(const LayerView& layer, int32_t first_output, int32_t* totals) {
        const int32_t *offset = layer.offset + first_output, *shift = layer.shift + first_output;
        const int32_t low = layer.low, high = layer.high;
        for (int32_t i = 0; i < kCount; ++i) totals[i] = clamped((totals[i] + offset[i]) >> shift[i], low, high);
    }

    // One panel over all rows; put(row, first output, count, values) takes each row's integers.
    template <int32_t kVectors, class Put>
    static void run_panel(const LayerView& layer, const Panel& panel, const Matrix& x, int32_t rows, const Put& put) {
        constexpr int32_t kCount = kVectors * Isa::kLanes;
        alignas(kAlignment) int32_t totals[kRows * kCount];
        const int32_t groups = padded(layer.inputs, Isa::kGroup) / Isa::kGroup;
        const int32_t left = layer.outputs - panel.first_output, count = left < kCount ? left : kCount;
        for (int32_t first = 0; first < rows; first += kRows) {
            multiply<kVectors>(x, first, static_cast<const Weight*>(panel.weights), groups, totals);
            for (int32_t r = 0; r < kRows && first + r < rows; ++r) {
                int32_t* values = totals + r * kCount;
                requantise<kCount>(layer, panel.first_output, values);
                if (count == kCount) put(first + r, panel.first_output, kCount, values);
                else put(first + r, panel.first_output, count, values);
            }
        }
    }

    template <class Put>
    static void run(const LayerView& layer, const Matrix& x, int32_t rows, const Put& put) {
        for (int32_t i = 0; i < layer.panel_count; ++i) {
            const Panel& panel = layer.panels[i];
            switch (panel.vectors) {
                case 1: run_panel<1>(layer, panel, x, rows, put); break;
                case 2: run_panel<2>(layer, panel, x, rows, put); break;
                case 3: if constexpr (Isa::kVectors >= 3) run_panel<3>(layer, panel, x, rows, put); break;
                case 4: if constexpr (Isa::kVectors >= 4) run_panel<4>(layer, panel, x, rows, put); break;
            }
        }
    }

    static int32_t rows_of(const Shape& shape, int64_t tile) {
        const int64_t left = shape.positions() - tile * kTile;
        return left < kTile ? static_cast<int32_t>(left) : kTile;
    }

    static size_t dense_scratch(const DenseJob& job) { return bytes_of(job.layer.inputs); }

    static void dense(const DenseJob& job, int64_t tile, void* scratch) {
        const LayerView& layer = job.layer;
        const int32_t rows = rows_of(job.shape, tile);
        const Matrix x = take(scratch, layer.inputs);
        const int8_t* added[kTile] = {};
        int8_t* out[kTile];
        Position at(job.shape, tile * kTile);
        for (int32_t row = 0; row < rows; ++row, at.advance(job.shape)) {
            copy(x.row(row), job.x.at(at.batch, at.row, at.column), layer.inputs);
            if (job.added.data) added[row] = job.added.at(at.batch, at.row, at.column);
            out[row] = job.out.at(at.batch, at.row, at.column);
        }
        clear_edges(x, layer.inputs, rows);
        const int8_t* constant = job.constant;
        if (!job.added.data && !constant) {
            run(layer, x, rows, [&](int32_t row, int32_t first, int32_t count, const int32_t* values) {
                int8_t* to = out[row] + first;
                for (int32_t i = 0; i < count; ++i) to[i] = static_cast<int8_t>(values[i]);
            });
            return;
        }
        run(layer, x, rows, [&](int32_t row, int32_t first, int32_t count, int32_t* values) {
            int8_t* to = out[row] + first;
            if (constant)
                for (int32_t i = 0; i < count; ++i) values[i] += constant[first + i];
            if (added[row])
                for (int32_t i = 0; i < count; ++i) values[i] += added[row][first + i];
            for (int32_t i = 0; i < count; ++i) to[i] = static_cast<int8_t>(clamped(values[i], -kPeak, kPeak));
        });
    }

    static size_t block_scratch(const BlockJob& job) {
        return bytes_of(job.spatial.inputs) + bytes_of(job.expand.inputs) + bytes_of(job.reduce.inputs);
    }

    // The nine neighbours' first channels side by side, the border repeated.
    static void copy_neighbours(const BlockJob& job, const Position& at, int32_t channels, Input* to) {
        const int32_t last_row = job.shape.height - 1, last_column = job.shape.width - 1;
        for (int32_t i = -1; i <= 1; ++i) {
            for (int32_t j = -1; j <= 1; ++j, to += channels) {
                const int32_t row = clamped(at.row + i, 0, last_row), column = clamped(at.column + j, 0, last_column);
                copy(to, job.x.at(at.batch, row, column), channels);
            }
        }
    }

    static void block(const BlockJob& job, int64_t tile, void* scratch) {
        const int32_t rows = rows_of(job.shape, tile), channels = job.expand.inputs, mixing = job.spatial.outputs;
        const Matrix taps = take(scratch, job.spatial.inputs);
        const Matrix mixed = take(scratch, channels);
        const Matrix hidden = take(scratch, job.reduce.inputs);
        const int8_t* x[kTile];
        int8_t* out[kTile];
        Position at(job.shape, tile * kTile);
        for (int32_t row = 0; row < rows; ++row, at.advance(job.shape)) {
            x[row] = job.x.at(at.batch, at.row, at.column);
            out[row] = job.out.at(at.batch, at.row, at.column);
            copy_neighbours(job, at, mixing, taps.row(row));
            copy(mixed.row(row) + mixing, x[row] + mixing, channels - mixing);
        }
        clear_edges(taps, job.spatial.inputs, rows);
        clear_edges(mixed, channels, rows);
        clear_edges(hidden, job.reduce.inputs, rows);
        run(job.spatial, taps, rows, [&](int32_t row, int32_t first, int32_t count, const int32_t* values) {
            Input* to = mixed.row(row) + first;
            for (int32_t i = 0; i < count; ++i) to[i] = static_cast<Input>(values[i] + Isa::kInputOffset);
        });
        run(job.expand, mixed, rows, [&](int32_t row, int32_t first, int32_t count, const int32_t* values) {
            Input* to = hidden.row(row) + first;
            for (int32_t i = 0; i < count; ++i) to[i] = static_cast<Input>(values[i] + Isa::kUnsignedOffset);
        });
        run(job.reduce, hidden, rows, [&](int32_t row, int32_t first, int32_t count, const int32_t* values) {
            const int8_t* from = x[row] + first;
            int8_t* to = out[row] + first;
            for (int32_t i = 0; i < count; ++i) to[i] = static_cast<int8_t>(clamped(from[i] + values[i], -kPeak, kPeak));
        });
    }

    static InstructionSet describe(const char* name) {
        return {name,  Isa::kLanes,    Isa::kGroup,    sizeof(Weight), Isa::kVectors, Isa::kInputOffset, Isa::kUnsignedOffset,
                kTile, &dense_scratch, &block_scratch, &dense,         &block};
    }
};

}  // namespace
}  // namespace rarefy
