// What the integer layers' arithmetic works on, and the table of functions that each instruction set gives.
#pragma once

#include <cstddef>
#include <cstdint>

namespace rarefy {

// Bytes [B, H, W, C] with channels side by side and any other strides.
template <typename Byte>
struct Grid {
    Byte* data = nullptr;
    ptrdiff_t batch_stride = 0, row_stride = 0, column_stride = 0;

    Byte* at(int32_t batch, int32_t row, int32_t column) const {
        return data + batch * batch_stride + row * row_stride + column * column_stride;
    }
};

struct Shape {
    int32_t batch = 0, height = 0, width = 0;

    int64_t positions() const { return int64_t{batch} * height * width; }
};

// Some neighbouring outputs, as many vectors of them as one pass keeps in registers.
struct Panel {
    int32_t first_output, vectors;
    const void* weights;  // by group of inputs, then output, then input of the group
};

// y = clamp((W x + offset) >> shift, low, high); offsets and shifts are there for padded outputs too.
struct LayerView {
    int32_t inputs, outputs, panel_count;
    const Panel* panels;
    const int32_t *offset, *shift;  // the offset has the bias, what rounding adds, and what the inputs' offset adds
    int32_t low, high;
};

// out = layer(x), or clamp(layer(x) + added + constant, -127, 127) where one of these is given.
struct DenseJob {
    LayerView layer;
    Shape shape;
    Grid<const int8_t> x, added;
    const int8_t* constant;
    Grid<int8_t> out;
};

// out = clamp(x + reduce(expand(spatial(first channels of x), other channels of x)), -127, 127).
struct BlockJob {
    LayerView spatial, expand, reduce;
    Shape shape;
    Grid<const int8_t> x;
    Grid<int8_t> out;
};

constexpr int32_t kPeak = 127;
constexpr int32_t kAlignment = 64;
constexpr int32_t kMostLanes = 16, kMostGroup = 4;  // of any instruction set

// How an instruction set wants its weights, and its code. A job's positions are cut into tiles; `scratch` is for one.
struct InstructionSet {
    const char* name;
    int32_t lanes;         // outputs of one vector
    int32_t group;         // inputs that one instruction multiplies and sums
    int32_t weight_bytes;  // 1, 2 or 4
    int32_t most_vectors;  // of a panel
    int32_t input_offset;  // added to inputs of -127..127, where the instruction takes unsigned ones
    int32_t unsigned_offset;  // added to inputs of 0..255, where it takes signed ones
    int32_t tile;          // positions
    size_t (*dense_scratch)(const DenseJob&);
    size_t (*block_scratch)(const BlockJob&);
    void (*dense)(const DenseJob&, int64_t tile, void* scratch);
    void (*block)(const BlockJob&, int64_t tile, void* scratch);
};

const InstructionSet& plain_instructions();
#if defined(RAREFY_X86)
const InstructionSet& avx2_instructions();
const InstructionSet& avx512_instructions();
#endif
#if defined(RAREFY_ARM)
const InstructionSet& neon_instructions();
const InstructionSet& dotprod_instructions();
#endif

}  // namespace rarefy
