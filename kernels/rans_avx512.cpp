// The coder's inner loops with AVX-512: eight lanes a vector, one state in each 64-bit element.
//
// A group of eight waits some 50 cycles for its own states, most of them for the look-up; two or four vectors of lanes
// wait side by side. Encoding waits for nothing but fifteen cycles of arithmetic.
#include <immintrin.h>

#include "loops.h"

namespace rarefy {
namespace {

constexpr uint32_t kVector = 8;  // lanes

// Fields of Row, each 16 bytes, as gathers of 32 bits see them.
const int* row_words(const Row* all, int word) { return reinterpret_cast<const int*>(all) + word; }
constexpr int kFirstEntryWord = 0, kLookupWord = 1, kValuesWord = 2;
static_assert(sizeof(Row) == 16 && offsetof(Row, lookup) == 4 && offsetof(Row, value_count) == 8);

__mmask16 first_of(size_t count) { return static_cast<__mmask16>(count >= 16 ? 0xffff : (1u << count) - 1); }

// One field of the first 64 rows in registers, of any others by gathers: codecs keep the rows of their scales first.
class Field {
public:
    Field(RowTable all, int word) : words_(row_words(all.rows, word)) {
        for (size_t v = 0; v < 4; ++v) {
            const __mmask16 there = all.count > 16 * v ? first_of(all.count - 16 * v) : __mmask16{0};
            const __m512i places = _mm512_slli_epi32(_mm512_add_epi32(count_up(), _mm512_set1_epi32(int(16 * v))), 2);
            first_[v] = _mm512_mask_i32gather_epi32(_mm512_setzero_si512(), there, places, words_, 4);
        }
    }

    // Of row indices; all elements are, wanted or not, below the number of rows.
    __m512i of(__m512i rows) const {
        if (_mm512_cmpgt_epu32_mask(rows, _mm512_set1_epi32(63))) {
            return _mm512_i32gather_epi32(_mm512_slli_epi32(rows, 2), words_, 4);
        }
        const __mmask16 is_upper = _mm512_test_epi32_mask(rows, _mm512_set1_epi32(32));
        return _mm512_mask_blend_epi32(is_upper, _mm512_permutex2var_epi32(first_[0], rows, first_[1]),
                                       _mm512_permutex2var_epi32(first_[2], rows, first_[3]));
    }

private:
    static __m512i count_up() { return _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15); }

    const int* words_;
    __m512i first_[4];
};

__m512i load_rows(__mmask16 wanted, const uint16_t* rows) {
    return _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(wanted, rows));
}

void find_coded(DecodeBlock& block, RowTable all, const uint16_t* rows, size_t count) {
    const Field lookups(all, kLookupWord);
    uint32_t coded = 0;
    for (size_t i = 0; i < count; i += 16) {
        const __mmask16 wanted = first_of(count - i);
        const __m512i row = load_rows(wanted, rows + i);
        const __m512i lookup = lookups.of(row);
        const __mmask16 is_coded = _mm512_mask_test_epi32_mask(wanted, lookup, lookup);
        const __m256i coded_row = _mm512_cvtepi32_epi16(_mm512_maskz_compress_epi32(is_coded, row));
        _mm512_storeu_si512(block.lookups + coded, _mm512_maskz_compress_epi32(is_coded, lookup));
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(block.rows + coded), coded_row);
        block.marks[i / 16] = is_coded;
        coded += static_cast<uint32_t>(_mm_popcnt_u32(is_coded));
    }
    block.coded = coded;
}

void place(const DecodeBlock& block, const Row* all, const uint16_t* rows, size_t count, int16_t* symbols) {
    const int16_t* next = block.symbols;
    for (size_t i = 0; i < count; i += 16) {
        const __mmask16 wanted = first_of(count - i), is_coded = block.marks[i / 16];
        __m256i values = _mm256_setzero_si256();
        if (is_coded != wanted) {
            const __m512i places = _mm512_slli_epi32(load_rows(wanted, rows + i), 2);
            const __mmask16 is_certain = wanted & ~is_coded;
            const __m512i words = _mm512_mask_i32gather_epi32(_mm512_setzero_si512(), is_certain, places,
                                                              row_words(all, kValuesWord), 4);
            values = _mm512_cvtepi32_epi16(_mm512_srli_epi32(words, 16));
        }
        const __m256i decoded = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(next));
        values = _mm256_mask_expand_epi16(values, is_coded, decoded);
        _mm256_mask_storeu_epi16(symbols + i, wanted, values);
        next += _mm_popcnt_u32(is_coded);
    }
}

// The lanes whose slots are beyond both entries of their buckets.
__mmask8 beyond(__m512i slot, __m512i bucket) {
    const __m512i end = _mm512_and_si512(_mm512_srli_epi64(bucket, 32), _mm512_set1_epi64(0xffff));
    return _mm512_cmpge_epu64_mask(slot, end);
}

// Find what the buckets of some lanes leave open; those of escapes stay as they are. Seldom called, and by value, so
// that the caller keeps its vectors in registers.
[[gnu::noinline, gnu::cold]] __m512i scan_lanes(const DecodeState& state, const uint16_t* rows, __m512i slot,
                                                uint32_t lanes, __m512i bucket) {
    alignas(64) uint64_t slots[kVector];
    alignas(64) Bucket buckets[kVector];
    _mm512_store_si512(slots, slot);
    _mm512_store_si512(buckets, bucket);
    for (; lanes != 0; lanes &= lanes - 1) {
        const auto k = static_cast<uint32_t>(__builtin_ctz(lanes));
        buckets[k] = scan(state, rows[k], static_cast<uint32_t>(slots[k]), buckets[k]);
    }
    return _mm512_load_si512(buckets);
}

template <uint32_t kVectors>
uint32_t decode_groups(DecodeState& state, const DecodeBlock& block, int16_t* symbols, uint32_t first, uint32_t end) {
    constexpr uint32_t kGroup = kVector * kVectors;
    const __m128i precision = _mm_cvtsi32_si128(state.precision);
    const __m512i slots = _mm512_set1_epi64((1 << state.precision) - 1);
    const __m512i low16 = _mm512_set1_epi64(0xffff), shifts = _mm512_set1_epi64((1 << kLookupShiftBits) - 1);
    const __m512i state_low = _mm512_set1_epi64(kStateLow), one = _mm512_set1_epi64(1);
    const uint8_t* next = state.next;
    __m512i states[kVectors];
    for (uint32_t v = 0; v < kVectors; ++v)
        states[v] = _mm512_cvtepu32_epi64(
            _mm256_loadu_si256(reinterpret_cast<const __m256i*>(state.states + kVector * v)));
    for (; first + kGroup <= end && next <= state.limit; first += kGroup) {
        __m512i slot[kVectors], bucket[kVectors];
        for (uint32_t v = 0; v < kVectors; ++v) {
            const __m512i lookup = _mm512_cvtepu32_epi64(
                _mm256_loadu_si256(reinterpret_cast<const __m256i*>(block.lookups + first + kVector * v)));
            slot[v] = _mm512_and_si512(states[v], slots);
            const __m512i place = _mm512_add_epi64(_mm512_srli_epi64(lookup, kLookupShiftBits),
                                                   _mm512_srlv_epi64(slot[v], _mm512_and_si512(lookup, shifts)));
            bucket[v] = _mm512_i64gather_epi64(place, state.buckets, 8);
        }
        __mmask8 escapes = 0;
        __m512i longer[kVectors];
        const uint8_t* word = next;
        for (uint32_t v = 0; v < kVectors; ++v) {
            const __mmask8 missed = beyond(slot[v], bucket[v]);
            if (missed) {
                bucket[v] = scan_lanes(state, block.rows + first + kVector * v, slot[v], missed, bucket[v]);
                escapes |= beyond(slot[v], bucket[v]);
            }
            const __m512i middle = _mm512_and_si512(_mm512_srli_epi64(bucket[v], 16), low16);
            const __mmask8 is_upper = _mm512_cmpge_epu64_mask(slot[v], middle);
            __m512i symbol = _mm512_srli_epi64(bucket[v], 48);
            symbol = _mm512_mask_add_epi64(symbol, is_upper, symbol, one);
            _mm_storeu_si128(reinterpret_cast<__m128i*>(symbols + first + kVector * v), _mm512_cvtepi64_epi16(symbol));
            const __m512i edges = _mm512_mask_srli_epi64(bucket[v], is_upper, bucket[v], 16);
            const __m512i low = _mm512_and_si512(edges, low16);
            const __m512i frequency = _mm512_sub_epi64(_mm512_and_si512(_mm512_srli_epi64(edges, 16), low16), low);
            const __m512i quotient = _mm512_srl_epi64(states[v], precision);
            const __m512i shorter = _mm512_add_epi64(_mm512_mul_epu32(frequency, quotient),
                                                     _mm512_sub_epi64(slot[v], low));
            const __mmask8 is_due = _mm512_cmplt_epu64_mask(shorter, state_low);
            const __m512i words = _mm512_cvtepu16_epi64(_mm_loadu_si128(reinterpret_cast<const __m128i*>(word)));
            longer[v] = _mm512_or_si512(_mm512_mask_slli_epi64(shorter, is_due, shorter, 16),
                                        _mm512_maskz_expand_epi64(is_due, words));
            word += 2 * _mm_popcnt_u32(is_due);
        }
        if (escapes) break;
        for (uint32_t v = 0; v < kVectors; ++v) states[v] = longer[v];
        next = word;
    }
    for (uint32_t v = 0; v < kVectors; ++v)
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(state.states + kVector * v), _mm512_cvtepi64_epi32(states[v]));
    state.next = next;
    return first;
}

uint32_t decode_groups(DecodeState& state, const DecodeBlock& block, int16_t* symbols, uint32_t first, uint32_t end) {
    switch (state.lanes) {
        case 8: return decode_groups<1>(state, block, symbols, first, end);
        case 16: return decode_groups<2>(state, block, symbols, first, end);
        default: return decode_groups<4>(state, block, symbols, first, end);
    }
}

bool find_entries(EncodeBlock& block, RowTable all, const uint16_t* rows, const int16_t* symbols, size_t count) {
    const Field first_entries(all, kFirstEntryWord), value_counts(all, kValuesWord);
    uint32_t coded = 0, outside = 0;
    __mmask16 wrong = 0;
    for (size_t i = 0; i < count; i += 16) {
        const __mmask16 wanted = first_of(count - i);
        const __m512i row = load_rows(wanted, rows + i);
        const __m512i entry = first_entries.of(row), values = value_counts.of(row);
        const __m512i symbol = _mm512_cvtepi16_epi32(_mm256_maskz_loadu_epi16(wanted, symbols + i));
        const __m512i value_count = _mm512_and_si512(values, _mm512_set1_epi32(0xffff));
        const __m512i index = _mm512_sub_epi32(symbol, _mm512_srai_epi32(values, 16));
        const __mmask16 is_coded = _mm512_mask_test_epi32_mask(wanted, value_count, value_count);
        const __m512i found = _mm512_add_epi32(entry, _mm512_min_epu32(index, value_count));
        _mm512_storeu_si512(block.entries + coded, _mm512_maskz_compress_epi32(is_coded, found));
        wrong |= _mm512_mask_test_epi32_mask(wanted & ~is_coded, index, index);
        for (uint32_t left = _mm512_mask_cmpge_epu32_mask(is_coded, index, value_count); left != 0; left &= left - 1) {
            const auto at = static_cast<uint32_t>(__builtin_ctz(left));
            const uint32_t before = is_coded & ((1u << at) - 1);
            block.outside[outside++] = {static_cast<uint16_t>(coded + static_cast<uint32_t>(_mm_popcnt_u32(before))),
                                        static_cast<uint16_t>(i + at)};
        }
        coded += static_cast<uint32_t>(_mm_popcnt_u32(is_coded));
    }
    block.coded = coded;
    block.outside_count = outside;
    return wrong == 0;
}

// Vectors hold lanes backwards here, as words are put out.
__m256i backwards(__m256i lanes) {
    return _mm256_permutevar8x32_epi32(lanes, _mm256_setr_epi32(7, 6, 5, 4, 3, 2, 1, 0));
}

template <uint32_t kVectors>
uint16_t* put_groups(const EncodeState& state, const uint32_t* entries, uint32_t begin, uint32_t end) {
    const __m512i low15 = _mm512_set1_epi64(0x7fff), one = _mm512_set1_epi64(1);
    const __m512i most_shift = _mm512_set1_epi64(2 * 64 + 32 - state.precision);
    const __m512i total = _mm512_set1_epi64(1 << state.precision);
    const __m128i headroom = _mm_cvtsi32_si128(32 - state.precision);
    uint16_t* next = state.next;
    __m512i states[kVectors];
    for (uint32_t v = 0; v < kVectors; ++v)
        states[v] = _mm512_cvtepu32_epi64(
            backwards(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(state.states + kVector * v))));
    while (end > begin) {
        for (uint32_t v = kVectors; v-- > 0;) {
            end -= kVector;
            const __m256i places = backwards(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(entries + end)));
            const __m512i entry = _mm512_i32gather_epi64(places, state.packed_entries, 8);
            const __m512i start = _mm512_and_si512(entry, low15);
            const __m512i frequency = _mm512_and_si512(_mm512_srli_epi64(entry, kPackedFrequencyShift), low15);
            const __m512i reciprocal = _mm512_srli_epi64(entry, kPackedReciprocalShift);
            const __m512i zeros = _mm512_lzcnt_epi64(_mm512_sub_epi64(frequency, one));
            const __m512i shift = _mm512_sub_epi64(most_shift, _mm512_add_epi64(zeros, zeros));
            const __mmask8 is_due = _mm512_cmpge_epu64_mask(states[v], _mm512_sll_epi64(frequency, headroom));
            _mm_storeu_si128(reinterpret_cast<__m128i*>(next),
                             _mm_maskz_compress_epi16(is_due, _mm512_cvtepi64_epi16(states[v])));
            next += _mm_popcnt_u32(is_due);
            const __m512i shorter = _mm512_mask_srli_epi64(states[v], is_due, states[v], 16);
            const __m512i quotient = _mm512_srlv_epi64(_mm512_mullo_epi64(shorter, reciprocal), shift);
            states[v] = _mm512_add_epi64(_mm512_add_epi64(shorter, start),
                                         _mm512_mul_epu32(quotient, _mm512_sub_epi64(total, frequency)));
        }
    }
    for (uint32_t v = 0; v < kVectors; ++v)
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(state.states + kVector * v),
                            backwards(_mm512_cvtepi64_epi32(states[v])));
    return next;
}

uint16_t* put_groups(const EncodeState& state, const uint32_t* entries, uint32_t begin, uint32_t end) {
    switch (state.lanes) {
        case 8: return put_groups<1>(state, entries, begin, end);
        case 16: return put_groups<2>(state, entries, begin, end);
        default: return put_groups<4>(state, entries, begin, end);
    }
}

}  // namespace

extern const Loops kAvx512Loops;
const Loops kAvx512Loops{"avx512", kVector, find_coded, place, decode_groups, find_entries, put_groups};

}  // namespace rarefy
