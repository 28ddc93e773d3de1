// AVX2: 16-bit inputs and weights, since the instruction for bytes saturates; each pair of products is summed exactly.
#include <immintrin.h>

#include <cstring>

#include "int8_tile.h"

namespace rarefy {
namespace {

struct Avx2 {
    using Input = int16_t;
    using Weight = int16_t;
    using Vector = __m256i;
    static constexpr int32_t kLanes = 8, kGroup = 2, kVectors = 2, kRows = 6, kTile = 24, kInputOffset = 0;
    static constexpr int32_t kUnsignedOffset = 0;

    static Vector zero() { return _mm256_setzero_si256(); }
    static Vector load(const Weight* from) { return _mm256_load_si256(reinterpret_cast<const Vector*>(from)); }
    static void store(int32_t* to, Vector sums) { _mm256_store_si256(reinterpret_cast<Vector*>(to), sums); }
    static Vector dot(Vector sums, Vector inputs, Vector weights) {
        return _mm256_add_epi32(sums, _mm256_madd_epi16(inputs, weights));
    }

    static Vector broadcast(const Input* from) {
        int32_t two;
        std::memcpy(&two, from, sizeof two);
        return _mm256_set1_epi32(two);
    }
};

}  // namespace

const InstructionSet& avx2_instructions() {
    static const InstructionSet set = Tiles<Avx2>::describe("avx2");
    return set;
}

}  // namespace rarefy
