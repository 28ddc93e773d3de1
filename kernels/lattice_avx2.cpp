// Lockstep with AVX2: eight units a vector.
#include <immintrin.h>

#include "lattice_lockstep.h"

namespace rarefy {
namespace {

struct Avx2 {
    static constexpr size_t kWidth = 8, kTile = 2;
    using Sums = __m256i;
    using Pairs = __m256i;

    static Pairs load(const int16_t* from) { return _mm256_load_si256(reinterpret_cast<const __m256i*>(from)); }
    static void store(int16_t* to, Pairs pairs) { _mm256_store_si256(reinterpret_cast<__m256i*>(to), pairs); }
    static Sums load_sums(const int32_t* from) { return _mm256_load_si256(reinterpret_cast<const __m256i*>(from)); }
    static void store_sums(int32_t* to, Sums sums) { _mm256_store_si256(reinterpret_cast<__m256i*>(to), sums); }
    static Sums all(int32_t value) { return _mm256_set1_epi32(value); }
    static Pairs all_pairs(int32_t two) { return _mm256_set1_epi32(two); }
    static Sums dot(Sums sums, Pairs left, Pairs right) {
        return _mm256_add_epi32(sums, _mm256_madd_epi16(left, right));
    }
    static Pairs clip(Pairs pairs) {
        pairs = _mm256_max_epi16(pairs, _mm256_set1_epi16(-kLargestSeen));
        return _mm256_min_epi16(pairs, _mm256_set1_epi16(kLargestSeen));
    }
    static Pairs magnitude(Pairs pairs) { return _mm256_abs_epi16(pairs); }
    static Pairs subtract(Pairs left, Pairs right) { return _mm256_sub_epi16(left, right); }

    static void finish(Sums means, Sums scales, const LatticeGroup& group, int32_t* out, uint16_t* rows) {
        const Sums mean = _mm256_srai_epi32(_mm256_add_epi32(means, all(1 << (kMeanBits - 1))), kMeanBits);
        const Sums scale = _mm256_min_epi32(_mm256_max_epi32(scales, all(group.least)), all(group.most));
        const Sums bits = _mm256_srli_epi32(_mm256_castps_si256(_mm256_cvtepi32_ps(scale)), 23 - kSubOctaveBits);
        const Sums index = _mm256_sub_epi32(bits, all((127 << kSubOctaveBits) + group.first_index));
        const Sums row = _mm256_or_si256(_mm256_slli_epi32(index, kFractionBits),
                                         _mm256_and_si256(mean, all((1 << kFractionBits) - 1)));
        store_sums(out, mean);
        const __m128i narrow = _mm_packus_epi32(_mm256_castsi256_si128(row), _mm256_extracti128_si256(row, 1));
        _mm_store_si128(reinterpret_cast<__m128i*>(rows), narrow);
    }

    static uint32_t put(const int16_t* symbols, const int32_t* means, int16_t* plane, int16_t* residual, bool is_second) {
        const Sums symbol = _mm256_cvtepi16_epi32(_mm_load_si128(reinterpret_cast<const __m128i*>(symbols)));
        const Sums mean = load_sums(means);
        const Sums value = _mm256_add_epi32(symbol, _mm256_srai_epi32(mean, kFractionBits));
        const Sums low = _mm256_srai_epi32(_mm256_slli_epi32(value, 16), 16);
        const Sums fits = _mm256_cmpeq_epi32(value, low);
        const Sums apart = _mm256_abs_epi32(_mm256_sub_epi32(_mm256_slli_epi32(value, kFractionBits), mean));
        put_half(plane, value, is_second);
        put_half(residual, _mm256_min_epi32(apart, all(kLargestResidual)), is_second);
        return ~static_cast<uint32_t>(_mm256_movemask_ps(_mm256_castsi256_ps(fits))) & 0xff;
    }

    static void put_half(int16_t* to, Sums values, bool is_second) {
        const Sums shifted = is_second ? _mm256_slli_epi32(values, 16) : values;
        const Sums first = _mm256_blend_epi16(load(to), shifted, 0x55), second = _mm256_blend_epi16(load(to), shifted, 0xaa);
        store(to, is_second ? second : first);
    }

    static void decode_symbols(LatticeGroup& group, size_t n) { decode_scalar(group, n); }
};

}  // namespace

extern const LatticeLoops kAvx2Lattice;
const LatticeLoops kAvx2Lattice{"avx2", 7, Lockstep<Avx2>::decode, take_scalar};

}  // namespace rarefy
