// NEON as every 64-bit Arm has it: 16 products of bytes in 16 bits, each pair summed into 32 bits.
#include <arm_neon.h>

#include <cstring>

#include "int8_tile.h"

namespace rarefy {
namespace {

// A product of bytes is at most 128 * 128, so it fits; two of them need not, so each goes into 32 bits on its own.
struct Neon {
    struct Vector {
        int32x4_t low, high;
    };
    using Input = int8_t;
    using Weight = int8_t;
    static constexpr int32_t kLanes = 8, kGroup = 2, kVectors = 2, kRows = 6, kTile = 24, kInputOffset = 0;
    static constexpr int32_t kUnsignedOffset = -128;

    static Vector zero() { return {vdupq_n_s32(0), vdupq_n_s32(0)}; }
    static int8x16_t load(const Weight* from) { return vld1q_s8(from); }
    static Vector dot(Vector sums, int8x16_t inputs, int8x16_t weights) {
        return {vpadalq_s16(sums.low, vmull_s8(vget_low_s8(inputs), vget_low_s8(weights))),
                vpadalq_s16(sums.high, vmull_high_s8(inputs, weights))};
    }

    static void store(int32_t* to, Vector sums) {
        vst1q_s32(to, sums.low);
        vst1q_s32(to + 4, sums.high);
    }

    static int8x16_t broadcast(const Input* from) {
        int16_t two;
        std::memcpy(&two, from, sizeof two);
        return vreinterpretq_s8_s16(vdupq_n_s16(two));
    }
};

}  // namespace

const InstructionSet& neon_instructions() {
    static const InstructionSet set = Tiles<Neon>::describe("neon");
    return set;
}

}  // namespace rarefy
