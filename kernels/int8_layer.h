// A layer's weights in the order in which an instruction set reads them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

#include "int8.h"

namespace rarefy {

struct AlignedDelete {
    void operator()(void* memory) const { ::operator delete(memory, std::align_val_t{kAlignment}); }
};

// Memory at an address that every vector's load and store accepts.
using AlignedMemory = std::unique_ptr<void, AlignedDelete>;

inline AlignedMemory aligned_memory(size_t bytes) {
    return AlignedMemory(::operator new(std::max<size_t>(bytes, 1), std::align_val_t{kAlignment}));
}

class Layer {
public:
    // weight: [outputs, inputs]; bias and shift: [outputs]. is_unsigned: the inputs are 0..255, not -127..127.
    Layer(const InstructionSet& set, const int8_t* weight, const int32_t* bias, const uint8_t* shift, int32_t outputs,
          int32_t inputs, int32_t low, int32_t high, bool is_unsigned)
        : set_(&set), low_(low), high_(high), inputs_(inputs), outputs_(outputs) {
        const int32_t vectors = (outputs + set.lanes - 1) / set.lanes;
        const size_t padded = size_t(vectors) * set.lanes;
        own_offset_.assign(padded, 0);
        offset_.assign(padded, 0);
        shift_.assign(padded, 1);
        const int32_t offset = is_unsigned ? set.unsigned_offset : set.input_offset;
        for (int32_t o = 0; o < outputs; ++o) {
            shift_[o] = shift[o];
            own_offset_[o] = 1 << (shift[o] - 1);
            for (int32_t i = 0; i < inputs; ++i) own_offset_[o] -= offset * weight[int64_t{o} * inputs + i];
        }
        pack(weight, vectors);
        set_bias(bias);
    }

    // The same weights, not copied, under other biases.
    Layer with_bias(const int32_t* bias) const {
        Layer other = *this;
        other.set_bias(bias);
        return other;
    }

    const InstructionSet& set() const { return *set_; }
    int32_t inputs() const { return inputs_; }
    int32_t outputs() const { return outputs_; }

    LayerView view() const {
        return {inputs_,        outputs_, static_cast<int32_t>(panels_.size()), panels_.data(), offset_.data(), shift_.data(),
                low_,           high_};
    }

private:
    void set_bias(const int32_t* bias) {
        for (int32_t o = 0; o < outputs_; ++o) offset_[o] = bias[o] + own_offset_[o];
    }

    // Panels of nearly equal numbers of vectors: 6 are 3 and 3, not 4 and 2.
    void pack(const int8_t* weight, int32_t vectors) {
        const int32_t count = (vectors + set_->most_vectors - 1) / set_->most_vectors;
        const int32_t groups = (inputs_ + set_->group - 1) / set_->group;
        memory_ = aligned_memory(size_t(vectors) * set_->lanes * groups * set_->group * set_->weight_bytes);
        auto* next = static_cast<char*>(memory_.get());
        for (int32_t i = 0, first = 0; i < count; ++i) {
            const int32_t own = (vectors - first + count - i - 1) / (count - i);
            panels_.push_back({first * set_->lanes, own, next});
            if (set_->weight_bytes == 1) next = fill<int8_t>(weight, panels_.back(), groups, next);
            else if (set_->weight_bytes == 2) next = fill<int16_t>(weight, panels_.back(), groups, next);
            else next = fill<int32_t>(weight, panels_.back(), groups, next);
            first += own;
        }
    }

    template <typename Weight>
    char* fill(const int8_t* weight, const Panel& panel, int32_t groups, char* to) const {
        auto* next = reinterpret_cast<Weight*>(to);
        const int32_t end = panel.first_output + panel.vectors * set_->lanes;
        for (int32_t g = 0; g < groups; ++g)
            for (int32_t o = panel.first_output; o < end; ++o)
                for (int32_t i = g * set_->group; i < (g + 1) * set_->group; ++i)
                    *next++ = o < outputs_ && i < inputs_ ? weight[int64_t{o} * inputs_ + i] : Weight{0};
        return reinterpret_cast<char*>(next);
    }

    const InstructionSet* set_;
    int32_t low_, high_, inputs_, outputs_;
    std::vector<int32_t> own_offset_;  // what rounding adds, less what the inputs' offset adds
    std::vector<int32_t> offset_, shift_;
    std::vector<Panel> panels_;
    std::shared_ptr<void> memory_;
};

}  // namespace rarefy
