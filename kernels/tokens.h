// Token streams (docs/TOKENS.md): the rows that adapt, and the two loops. The state's arithmetic is that of rans.h.
//
// `rarefy/entropy/token_stream.py` defines it; this must give its bytes. A stream is treated as hostile throughout.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <type_traits>
#include <vector>

#include "rans.h"
#include "token_row.h"

namespace rarefy::tokens {

// Keep in step with rarefy/entropy/token_stream.py.
constexpr uint32_t kUnit = 32;             // what one token adds to a count
constexpr uint32_t kLimit = 4096 * kUnit;  // counts are halved beyond this sum
constexpr int kWaitShift = 10;             // a row is computed anew after a 32nd of the tokens in its counts
constexpr int kReciprocalBits = 18;
constexpr int kShareRate = 3;
constexpr int32_t kLeastShare = 128;
constexpr int32_t kMostShare = (1 << kShareBits) - kLeastShare;

struct Entry {
    uint32_t index;
    int32_t start;
    int32_t frequency;
    int32_t shipped_frequency;
};

// What adapts in one node: counts of `size` entries, and the row computed from them last. A row has kWidth + 1 numbers:
// c(0) = 0 to c(size) = 2^14, which is repeated to the end, so that no slot leads beyond the row.
template <int kWidth>
struct Node {
    uint32_t wait;  // tokens until the row is computed anew
    uint32_t sum;
    uint32_t size;
    uint32_t counts[kWidth];
    int16_t row[kWidth + 1];

    void open(const uint32_t* prior, uint32_t entries) {
        size = entries;
        sum = 0;
        for (uint32_t entry = 0; entry < size; ++entry) sum += counts[entry] = prior[entry];
        std::fill(row, row + kWidth + 1, static_cast<int16_t>(kTotal));
        compute_row();
    }

    void add(uint32_t entry) {
        counts[entry] += kUnit;
        sum += kUnit;
        if (--wait == 0) {
            if (sum > kLimit) halve();
            compute_row();
        }
    }

private:
    void halve() {
        sum = 0;
        for (uint32_t entry = 0; entry < size; ++entry) sum += counts[entry] = (counts[entry] + 1) >> 1;
    }

    // The product stays below 2^32: below (2^14 - size) 2^18, since the running count is at most `sum`.
    void compute_row() {
        const uint32_t reciprocal = ((static_cast<uint32_t>(kTotal) - size) << kReciprocalBits) / sum;
        uint32_t below = 0;
        for (uint32_t entry = 0; entry < size; ++entry) {
            row[entry] = static_cast<int16_t>(entry + (below * reciprocal >> kReciprocalBits));
            below += counts[entry];
        }
        wait = std::max(sum >> kWaitShift, 1u);
    }
};

// How much the shipped rows are believed, learnt from which of both expected the tokens better.
struct Share {
    int32_t value = 1 << (kShareBits - 1);

    void learn(const Entry& entry) {
        const int32_t earned = std::min(value * entry.shipped_frequency / entry.frequency, 1 << kShareBits);
        value = std::clamp(value + ((earned - value) >> kShareRate), kLeastShare, kMostShare);
    }
};

// A token model as the loops want it; rarefy.entropy.token_model has validated what it is made of.
struct Model {
    uint32_t alphabet;
    int member_bits;
    uint32_t groups;          // of 2^member_bits tokens each, the last one perhaps of fewer
    uint32_t class_count;     // contexts is square, with one more for "outside"
    std::vector<uint8_t> classes;
    std::vector<uint16_t> contexts;
    std::vector<int16_t> rows;     // per node 2^member_bits + 1 numbers
    std::vector<uint32_t> counts;  // per node 2^member_bits

    size_t width() const { return size_t{1} << member_bits; }
    size_t node_count() const { return counts.size() >> member_bits; }

    uint32_t size_of(size_t node) const {
        const auto group = static_cast<uint32_t>(node % (groups + 1));
        if (group == 0) return groups;
        return group < groups ? static_cast<uint32_t>(width()) : alphabet - ((groups - 1) << member_bits);
    }
};

// The model while a stream goes by: nodes begin as shipped at their first token.
template <int kBits>
class Predictor {
public:
    static constexpr int kWidth = 1 << kBits;

    Predictor(const Model& model, size_t grid_width)
        : model_(model),
          grid_width_(grid_width),
          nodes_(new Node<kWidth>[model.node_count()]),  // left as memory comes: few of them are ever met
          is_open_(model.node_count()) {}

    // Choose the context of token number `position`; all before it are known.
    void move_to(size_t position, const uint16_t* tokens) {
        const uint32_t outside = model_.class_count;
        const bool is_first = grid_width_ != 0 && column_ == grid_width_;
        if (is_first) column_ = 0;
        ++column_;
        const uint32_t left = position == 0 || is_first ? outside : model_.classes[tokens[position - 1]];
        const bool has_above = grid_width_ != 0 && position >= grid_width_;
        const uint32_t above = has_above ? model_.classes[tokens[position - grid_width_]] : outside;
        context_ = size_t{model_.contexts[left * (outside + 1) + above]} * (model_.groups + 1);
    }

    // `step(shipped, adapted, share)` gives an Entry of the row; a token takes one for its group and one within it.
    template <typename Step>
    uint32_t token(Step&& step) {
        uint32_t group = 0;
        if (model_.groups > 1) group = entry(context_, group_share_, 0, step);
        return group << kBits | entry(context_ + 1 + group, member_share_, 1, step);
    }

private:
    template <typename Step>
    uint32_t entry(size_t number, Share& share, int level, Step&& step) {
        Node<kWidth>& node = nodes_[number];
        if (!is_open_[number]) {
            is_open_[number] = 1;
            node.open(&model_.counts[number * kWidth], model_.size_of(number));
        }
        const Entry found = step(level, &model_.rows[number * (kWidth + 1)], node.row, share.value);
        share.learn(found);
        node.add(found.index);
        return found.index;
    }

    const Model& model_;
    const size_t grid_width_;
    std::unique_ptr<Node<kWidth>[]> nodes_;
    std::vector<uint8_t> is_open_;
    size_t column_ = 0;
    size_t context_ = 0;
    Share group_share_, member_share_;
};

// The state that a stream begins with takes 3 or 4 bytes, by the parity of the stream's length; words follow.
inline Status open_stream(const uint8_t* data, size_t size, uint32_t& state, WordReader& words) {
    const size_t state_size = size % 2 ? 3 : 4;
    if (size < state_size) return Status::truncated;
    state = 0;
    for (size_t byte = 0; byte < state_size; ++byte) state |= static_cast<uint32_t>(data[byte]) << (8 * byte);
    words = {data + state_size, data + size};
    return data[state_size - 1] == 0 ? Status::state_range : Status::ok;
}

// Decode `count` >= 1 tokens. The last one is what the final state holds.
template <int kBits>
Status decode(const Model& model, const uint8_t* data, size_t size, size_t grid_width, uint16_t* tokens, size_t count) {
    uint32_t state = 0;
    WordReader words;
    const Status opened = open_stream(data, size, state, words);
    if (opened != Status::ok) return opened;
    Predictor<kBits> predictor(model, grid_width);
    constexpr int kWidth = 1 << kBits;
    bool is_short = false;
    const auto step = [&](int, const int16_t* shipped, const int16_t* adapted, int32_t share) {
        const auto slot = static_cast<int32_t>(state & (kTotal - 1));
        int16_t row[kWidth + 1];
        blend_row<kWidth>(shipped, adapted, share, row);
        const uint32_t index = find<kWidth>(row, slot);
        const Entry found{index, row[index], row[index + 1] - row[index], shipped[index + 1] - shipped[index]};
        state = static_cast<uint32_t>(found.frequency) * (state >> kPrecision);
        state += static_cast<uint32_t>(slot - found.start);
        if (words.is_empty()) {
            is_short |= state < kStateLow;
        } else {  // without a branch on the state, which is a coin toss
            const uint32_t longer = state << 16 | words.peek();
            words.next += state < kStateLow ? 2 : 0;
            state = state < kStateLow ? longer : state;
        }
        return found;
    };
    for (size_t position = 0; position + 1 < count; ++position) {
        predictor.move_to(position, tokens);
        tokens[position] = static_cast<uint16_t>(predictor.token(step));
        if (is_short) return Status::truncated;
    }
    if (!words.is_empty()) return Status::words_left;
    if (state - kStateLow >= model.alphabet) return Status::state_end;
    tokens[count - 1] = static_cast<uint16_t>(state - kStateLow);
    return Status::ok;
}

// Encode `count` >= 1 tokens below the alphabet: forwards for the entries, backwards for the state.
template <int kBits>
std::vector<uint8_t> encode(const Model& model, const uint16_t* tokens, size_t count, size_t grid_width) {
    struct Piece {
        uint16_t start, frequency;
    };
    std::vector<Piece> pieces;
    pieces.reserve(2 * count);
    Predictor<kBits> predictor(model, grid_width);
    for (size_t position = 0; position + 1 < count; ++position) {
        const uint32_t token = tokens[position];
        predictor.move_to(position, tokens);
        predictor.token([&](int level, const int16_t* shipped, const int16_t* adapted, int32_t share) {
            const uint32_t index = level == 0 ? token >> kBits : token & ((1u << kBits) - 1);
            const int32_t start = blend(shipped[index], adapted[index], share);
            const int32_t end = blend(shipped[index + 1], adapted[index + 1], share);
            const Entry entry{index, start, end - start, shipped[index + 1] - shipped[index]};
            pieces.push_back({static_cast<uint16_t>(entry.start), static_cast<uint16_t>(entry.frequency)});
            return entry;
        });
    }
    std::vector<uint16_t> room(pieces.size() + 1);  // one word a piece at most, and one written before it is due
    WordWriter words{room.data()};
    uint32_t state = kStateLow + tokens[count - 1];
    for (size_t i = pieces.size(); i-- > 0;) {
        const Piece piece = pieces[i];
        words.put_if(state >= static_cast<uint64_t>(piece.frequency) << (32 - kPrecision), state);
        state = (state / piece.frequency << kPrecision) + state % piece.frequency + piece.start;
    }
    std::vector<uint8_t> stream;
    for (uint32_t rest = state; rest != 0; rest >>= 8) stream.push_back(static_cast<uint8_t>(rest));
    for (const uint16_t* word = words.next; word != room.data();) {
        --word;
        stream.push_back(static_cast<uint8_t>(*word));
        stream.push_back(static_cast<uint8_t>(*word >> 8));
    }
    return stream;
}

// Call `work(std::integral_constant<int, bits>)` for the model's width of rows.
template <typename Work>
auto for_width(const Model& model, Work&& work) {
    switch (model.member_bits) {
        case 1: return work(std::integral_constant<int, 1>{});
        case 2: return work(std::integral_constant<int, 2>{});
        case 3: return work(std::integral_constant<int, 3>{});
        case 4: return work(std::integral_constant<int, 4>{});
        case 5: return work(std::integral_constant<int, 5>{});
        case 6: return work(std::integral_constant<int, 6>{});
        case 7: return work(std::integral_constant<int, 7>{});
        case 8: return work(std::integral_constant<int, 8>{});
        default: throw std::invalid_argument("member_bits");
    }
}

}  // namespace rarefy::tokens
