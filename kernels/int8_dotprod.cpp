// NEON with dot products (Armv8.2 and later): one instruction multiplies 16 pairs of bytes and sums each four exactly.
#include <arm_neon.h>

#include <cstring>

#include "int8_tile.h"

namespace rarefy {
namespace {

struct DotProducts {
    using Input = int8_t;
    using Weight = int8_t;
    using Vector = int32x4_t;
    static constexpr int32_t kLanes = 4, kGroup = 4, kVectors = 4, kRows = 6, kTile = 48, kInputOffset = 0;
    static constexpr int32_t kUnsignedOffset = -128;

    static Vector zero() { return vdupq_n_s32(0); }
    static int8x16_t load(const Weight* from) { return vld1q_s8(from); }
    static void store(int32_t* to, Vector sums) { vst1q_s32(to, sums); }
    static Vector dot(Vector sums, int8x16_t inputs, int8x16_t weights) { return vdotq_s32(sums, inputs, weights); }

    static int8x16_t broadcast(const Input* from) {
        int32_t four;
        std::memcpy(&four, from, sizeof four);
        return vreinterpretq_s8_s32(vdupq_n_s32(four));
    }
};

}  // namespace

const InstructionSet& dotprod_instructions() {
    static const InstructionSet set = Tiles<DotProducts>::describe("dotprod");
    return set;
}

}  // namespace rarefy
