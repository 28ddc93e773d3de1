// The search for a slot in a row that is a blend of two: what decoding tokens spends its time with.
#pragma once

#include <cstdint>

#if defined(__SSE2__) && !defined(RAREFY_TOKENS_PLAIN)
#include <emmintrin.h>
#define RAREFY_TOKENS_SSE2
#endif

namespace rarefy::tokens {

constexpr int kPrecision = 14;
constexpr int32_t kTotal = 1 << kPrecision;
constexpr int kShareBits = 15;

// `share` of 2^15 parts of the shipped row, the rest of the adapted one: it rises as both do. Twice the difference fits
// 16 bits still, so that only the upper half of its product with the share is wanted.
inline int16_t blend(int16_t shipped, int16_t adapted, int32_t share) {
    const auto twice = static_cast<int16_t>((shipped - adapted) * 2);
    return static_cast<int16_t>(adapted + ((int32_t{twice} * share) >> 16));
}

// Blend kWidth + 1 numbers into `row`.
template <int kWidth>
inline void blend_row(const int16_t* shipped, const int16_t* adapted, int32_t share, int16_t* row) {
#ifdef RAREFY_TOKENS_SSE2
    if constexpr (kWidth >= 8) {
        const __m128i shares = _mm_set1_epi16(static_cast<int16_t>(share));
        row[0] = 0;
        for (int entry = 1; entry <= kWidth; entry += 8) {
            const __m128i from = _mm_loadu_si128(reinterpret_cast<const __m128i*>(adapted + entry));
            const __m128i to = _mm_loadu_si128(reinterpret_cast<const __m128i*>(shipped + entry));
            const __m128i twice = _mm_slli_epi16(_mm_sub_epi16(to, from), 1);
            const __m128i ends = _mm_add_epi16(from, _mm_mulhi_epi16(twice, shares));
            _mm_storeu_si128(reinterpret_cast<__m128i*>(row + entry), ends);
        }
        return;
    }
#endif
    for (int entry = 0; entry <= kWidth; ++entry) row[entry] = blend(shipped[entry], adapted[entry], share);
}

// Find the entry whose end, row[entry + 1], is the first above the slot. The last number is 2^14, so that there is one.
template <int kWidth>
inline uint32_t find(const int16_t* row, int32_t slot) {
#ifdef RAREFY_TOKENS_SSE2
    if constexpr (kWidth >= 8) {
        const __m128i slots = _mm_set1_epi16(static_cast<int16_t>(slot));
        const auto above = [&](int entry) {
            return _mm_cmpgt_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(row + 1 + entry)), slots);
        };
        uint32_t found = 0;
        for (int entry = kWidth < 16 ? 0 : kWidth - 16; entry >= 0; entry -= 16) {
            const __m128i bytes = _mm_packs_epi16(above(entry), above(kWidth < 16 ? entry : entry + 8));
            const auto mask = static_cast<uint32_t>(_mm_movemask_epi8(bytes));
            found = mask != 0 ? static_cast<uint32_t>(entry + __builtin_ctz(mask)) : found;
        }
        return found;
    }
#endif
    int32_t passed = 0;
    for (int entry = 1; entry <= kWidth; ++entry) passed += row[entry] <= slot;
    return static_cast<uint32_t>(passed);
}

}  // namespace rarefy::tokens
