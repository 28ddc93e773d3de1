// What every processor of an architecture has: SSE2 on x86-64, elsewhere what the compiler makes of vectors of int32.
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include <cstring>

#include "int8_tile.h"

namespace rarefy {
namespace {

#if defined(__SSE2__)

struct Plain {
    using Input = int16_t;
    using Weight = int16_t;
    using Vector = __m128i;
    static constexpr int32_t kLanes = 4, kGroup = 2, kVectors = 2, kRows = 6, kTile = 24, kInputOffset = 0;
    static constexpr int32_t kUnsignedOffset = 0;

    static Vector zero() { return _mm_setzero_si128(); }
    static Vector load(const Weight* from) { return _mm_load_si128(reinterpret_cast<const Vector*>(from)); }
    static void store(int32_t* to, Vector sums) { _mm_store_si128(reinterpret_cast<Vector*>(to), sums); }
    static Vector dot(Vector sums, Vector inputs, Vector weights) {
        return _mm_add_epi32(sums, _mm_madd_epi16(inputs, weights));
    }

    static Vector broadcast(const Input* from) {
        int32_t two;
        std::memcpy(&two, from, sizeof two);
        return _mm_set1_epi32(two);
    }
};

#else

struct Plain {
#if defined(__GNUC__)
    typedef int32_t Vector __attribute__((vector_size(16)));
#else
    using Vector = int32_t;
#endif
    using Input = int32_t;
    using Weight = int32_t;
    static constexpr int32_t kLanes = sizeof(Vector) / sizeof(int32_t), kGroup = 1, kVectors = 2, kRows = 6, kTile = 24;
    static constexpr int32_t kInputOffset = 0, kUnsignedOffset = 0;

    static Vector zero() { return Vector{}; }
    static Vector broadcast(const Input* from) { return Vector{} + *from; }
    static void store(int32_t* to, Vector sums) { std::memcpy(to, &sums, sizeof sums); }
    static Vector dot(Vector sums, Vector inputs, Vector weights) { return sums + inputs * weights; }

    static Vector load(const Weight* from) {
        Vector weights;
        std::memcpy(&weights, from, sizeof weights);
        return weights;
    }
};

#endif

}  // namespace

const InstructionSet& plain_instructions() {
    static const InstructionSet set = Tiles<Plain>::describe("plain");
    return set;
}

}  // namespace rarefy
