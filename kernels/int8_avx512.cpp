// AVX-512 with VNNI: one instruction multiplies 64 pairs of bytes, unsigned by signed, and sums each four exactly.
#include <immintrin.h>

#include <cstring>

#include "int8_tile.h"

namespace rarefy {
namespace {

struct Avx512 {
    using Input = uint8_t;
    using Weight = int8_t;
    using Vector = __m512i;
    static constexpr int32_t kLanes = 16, kGroup = 4, kVectors = 4, kRows = 6, kTile = 48, kInputOffset = 128;
    static constexpr int32_t kUnsignedOffset = 0;

    static Vector zero() { return _mm512_setzero_si512(); }
    static Vector load(const Weight* from) { return _mm512_load_si512(from); }
    static void store(int32_t* to, Vector sums) { _mm512_store_si512(to, sums); }
    static Vector dot(Vector sums, Vector inputs, Vector weights) { return _mm512_dpbusd_epi32(sums, inputs, weights); }

    static Vector broadcast(const Input* from) {
        int32_t four;
        std::memcpy(&four, from, sizeof four);
        return _mm512_set1_epi32(four);
    }
};

}  // namespace

const InstructionSet& avx512_instructions() {
    static const InstructionSet set = Tiles<Avx512>::describe("avx512");
    return set;
}

}  // namespace rarefy
