// Lockstep with AVX-512: a vector has all units of a group, and decodes a symbol of each.
#include <immintrin.h>

#include "lattice_lockstep.h"

namespace rarefy {
namespace {

using Vector = __m512i;
static_assert(sizeof(Bucket) == 8 && kUnits == 16);

// Two words of each stream, and where they are.
class Words {
public:
    explicit Words(const LockstepStreams& streams) : bytes_(streams.bytes), next_(_mm512_load_si512(streams.next)) {}

    void look() { words_ = _mm512_i32gather_epi32(next_, bytes_, 1); }
    void read(const LockstepStreams& streams) {
        next_ = _mm512_load_si512(streams.next);
        look();
    }
    void write(LockstepStreams& streams) const { _mm512_store_si512(streams.next, next_); }

    // States with a word each where one is due; after `look` for two symbols.
    Vector refill(Vector states, __mmask16 is_due) {
        const Vector word = _mm512_and_si512(words_, _mm512_set1_epi32(0xffff));
        words_ = _mm512_mask_srli_epi32(words_, is_due, words_, 16);
        next_ = _mm512_mask_add_epi32(next_, is_due, next_, _mm512_set1_epi32(2));
        return _mm512_mask_or_epi32(states, is_due, _mm512_slli_epi32(states, 16), word);
    }

private:
    const uint8_t* bytes_;
    Vector next_, words_ = _mm512_setzero_si512();
};

struct Avx512 {
    static constexpr size_t kWidth = 16, kTile = 4;
    using Sums = Vector;
    using Pairs = Vector;

    static Pairs load(const int16_t* from) { return _mm512_load_si512(from); }
    static void store(int16_t* to, Pairs pairs) { _mm512_store_si512(to, pairs); }
    static Sums load_sums(const int32_t* from) { return _mm512_load_si512(from); }
    static void store_sums(int32_t* to, Sums sums) { _mm512_store_si512(to, sums); }
    static Sums all(int32_t value) { return _mm512_set1_epi32(value); }
    static Pairs all_pairs(int32_t two) { return _mm512_set1_epi32(two); }
    static Sums dot(Sums sums, Pairs left, Pairs right) { return _mm512_dpwssd_epi32(sums, left, right); }
    static Pairs clip(Pairs pairs) {
        pairs = _mm512_max_epi16(pairs, _mm512_set1_epi16(-kLargestSeen));
        return _mm512_min_epi16(pairs, _mm512_set1_epi16(kLargestSeen));
    }
    static Pairs magnitude(Pairs pairs) { return _mm512_abs_epi16(pairs); }
    static Pairs subtract(Pairs left, Pairs right) { return _mm512_sub_epi16(left, right); }

    static void finish(Sums means, Sums scales, const LatticeGroup& group, int32_t* out, uint16_t* rows) {
        const Sums mean = _mm512_srai_epi32(_mm512_add_epi32(means, all(1 << (kMeanBits - 1))), kMeanBits);
        const Sums scale = _mm512_min_epi32(_mm512_max_epi32(scales, all(group.least)), all(group.most));
        const Sums bits = _mm512_srli_epi32(_mm512_castps_si512(_mm512_cvtepi32_ps(scale)), 23 - kSubOctaveBits);
        const Sums index = _mm512_sub_epi32(bits, all((127 << kSubOctaveBits) + group.first_index));
        const Sums row = _mm512_or_si512(_mm512_slli_epi32(index, kFractionBits),
                                         _mm512_and_si512(mean, all((1 << kFractionBits) - 1)));
        store_sums(out, mean);
        _mm256_store_si256(reinterpret_cast<__m256i*>(rows), _mm512_cvtepi32_epi16(row));
    }

    static uint32_t put(const int16_t* symbols, const int32_t* means, int16_t* plane, int16_t* residual, bool is_second) {
        const Sums symbol = _mm512_cvtepi16_epi32(_mm256_load_si256(reinterpret_cast<const __m256i*>(symbols)));
        const Sums mean = load_sums(means);
        const Sums value = _mm512_add_epi32(symbol, _mm512_srai_epi32(mean, kFractionBits));
        const Sums low = _mm512_srai_epi32(_mm512_slli_epi32(value, 16), 16);
        const Sums apart = _mm512_abs_epi32(_mm512_sub_epi32(_mm512_slli_epi32(value, kFractionBits), mean));
        put_half(plane, value, is_second);
        put_half(residual, _mm512_min_epi32(apart, all(kLargestResidual)), is_second);
        return _mm512_cmpneq_epi32_mask(value, low);
    }

    static void put_half(int16_t* to, Sums values, bool is_second) {
        const Sums shifted = is_second ? _mm512_slli_epi32(values, 16) : values;
        store(to, _mm512_mask_mov_epi16(load(to), is_second ? 0xaaaaaaaa : 0x55555555, shifted));
    }

    static void decode_symbols(LatticeGroup& group, size_t n) {
        LockstepStreams& streams = *group.streams;
        Words words(streams);
        Vector x = _mm512_load_si512(streams.states[streams.lane]);
        for (size_t i = 0; i < n; ++i) {
            if (i % 2 == 0) words.look();
            decode_one(group, streams, words, x, group.rows + i * kUnits, group.symbols + i * kUnits);
            if (streams.lanes == 1) continue;  // the states stay where they are
            _mm512_store_si512(streams.states[streams.lane], x);
            streams.lane = (streams.lane + 1) & (streams.lanes - 1);
            x = _mm512_load_si512(streams.states[streams.lane]);
        }
        _mm512_store_si512(streams.states[streams.lane], x);
        words.write(streams);
        end_truncated(streams);
    }

    // A symbol of each stream, from states x.
    static void decode_one(LatticeGroup& group, LockstepStreams& streams, Words& words, Vector& x, const uint16_t* rows,
                           int16_t* symbols) {
        const LockstepTables& tables = group.tables;
        const Vector row = _mm512_cvtepu16_epi32(_mm256_load_si256(reinterpret_cast<const __m256i*>(rows)));
        const Vector slot = _mm512_and_si512(x, all((1 << tables.precision) - 1));
        const Vector place = _mm512_add_epi32(_mm512_slli_epi32(row, kBucketBits),
                                              _mm512_srli_epi32(slot, tables.precision - kBucketBits));
        // Buckets of eight units a gather; their lower and upper halves are brought together by a permutation each.
        const Vector left = _mm512_i32gather_epi64(_mm512_castsi512_si256(place), tables.buckets, 8);
        const Vector right = _mm512_i32gather_epi64(_mm512_extracti64x4_epi64(place, 1), tables.buckets, 8);
        const Vector even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
        const Vector odd = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
        const Vector begins = _mm512_permutex2var_epi32(left, even, right);  // start, middle << 16
        const Vector ends = _mm512_permutex2var_epi32(left, odd, right);     // end, symbol << 16
        const Vector middle = _mm512_srli_epi32(begins, 16), end = _mm512_and_si512(ends, all(0xffff));
        const __mmask16 is_upper = _mm512_cmpge_epu32_mask(slot, middle);
        const __mmask16 is_missed = _mm512_cmpge_epu32_mask(slot, end);
        const Vector low = _mm512_mask_mov_epi32(_mm512_and_si512(begins, all(0xffff)), is_upper, middle);
        const Vector high = _mm512_mask_mov_epi32(middle, is_upper, end);
        const Vector symbol = _mm512_srai_epi32(ends, 16);
        const Vector product = _mm512_mullo_epi32(_mm512_sub_epi32(high, low), _mm512_srli_epi32(x, tables.precision));
        const Vector shorter = _mm512_add_epi32(product, _mm512_sub_epi32(slot, low));
        const __mmask16 is_due = _mm512_mask_cmplt_epu32_mask(_knot_mask16(is_missed), shorter, all(kStateLow));
        const Vector states = words.refill(shorter, is_due);
        x = _mm512_mask_mov_epi32(states, is_missed, x);
        const Vector found = _mm512_mask_add_epi32(symbol, is_upper, symbol, all(1));
        _mm256_store_si256(reinterpret_cast<__m256i*>(symbols), _mm512_cvtepi32_epi16(found));
        if (is_missed & streams.active) {
            uint32_t* at = streams.states[streams.lane];
            _mm512_store_si512(at, x);
            words.write(streams);
            group.decode_missed(streams, tables, is_missed & streams.active, streams.lane, rows, symbols);
            words.read(streams);
            x = _mm512_load_si512(at);
        }
    }
};

// Rows of sixteen 32-bit elements become columns.
void transpose(Vector (&rows)[16]) {
    Vector fours[16];
    for (int i = 0; i < 16; i += 4) {
        const Vector low = _mm512_unpacklo_epi32(rows[i], rows[i + 1]), high = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
        const Vector below = _mm512_unpacklo_epi32(rows[i + 2], rows[i + 3]);
        const Vector above = _mm512_unpackhi_epi32(rows[i + 2], rows[i + 3]);
        fours[i] = _mm512_unpacklo_epi64(low, below);
        fours[i + 1] = _mm512_unpackhi_epi64(low, below);
        fours[i + 2] = _mm512_unpacklo_epi64(high, above);
        fours[i + 3] = _mm512_unpackhi_epi64(high, above);
    }
    constexpr int kEven = 0x88, kOdd = 0xdd;  // parts of 128 bits
    for (int k = 0; k < 4; ++k) {
        const Vector even = _mm512_shuffle_i32x4(fours[k], fours[4 + k], kEven);
        const Vector more_even = _mm512_shuffle_i32x4(fours[8 + k], fours[12 + k], kEven);
        const Vector odd = _mm512_shuffle_i32x4(fours[k], fours[4 + k], kOdd);
        const Vector more_odd = _mm512_shuffle_i32x4(fours[8 + k], fours[12 + k], kOdd);
        rows[k] = _mm512_shuffle_i32x4(even, more_even, kEven);
        rows[4 + k] = _mm512_shuffle_i32x4(odd, more_odd, kEven);
        rows[8 + k] = _mm512_shuffle_i32x4(even, more_even, kOdd);
        rows[12 + k] = _mm512_shuffle_i32x4(odd, more_odd, kOdd);
    }
}

// Two channels at 32 positions: a cache line of each unit's latents in each.
void take_lines(const LatticeGroup& group, int16_t* const* latents, size_t pair, size_t first) {
    Vector left[kUnits], right[kUnits];
    for (size_t p = 0; p < kUnits; ++p) {
        left[p] = _mm512_load_si512(group.planes + ((first + p) * group.pairs + pair) * kPair);
        right[p] = _mm512_load_si512(group.planes + ((first + kUnits + p) * group.pairs + pair) * kPair);
    }
    transpose(left);
    transpose(right);
    alignas(64) uint16_t evens[kPair], odds[kPair];
    for (size_t i = 0; i < kPair; ++i) {
        evens[i] = static_cast<uint16_t>(2 * i);
        odds[i] = static_cast<uint16_t>(2 * i + 1);
    }
    const Vector even = _mm512_load_si512(evens), odd = _mm512_load_si512(odds);
    for (size_t u = 0; u < kUnits; ++u) {
        if (!latents[u]) continue;
        int16_t* to = latents[u] + 2 * pair * group.positions + first;
        _mm512_storeu_si512(to, _mm512_permutex2var_epi16(left[u], even, right[u]));
        if (2 * pair + 1 < group.channels)
            _mm512_storeu_si512(to + group.positions, _mm512_permutex2var_epi16(left[u], odd, right[u]));
    }
}

void take(const LatticeGroup& group, int16_t* const* latents) {
    const size_t whole = group.positions / kPair * kPair;
    for (size_t first = 0; first < whole; first += kPair)
        for (size_t pair = 0; pair < group.pairs; ++pair) take_lines(group, latents, pair, first);
    take_positions(group, latents, whole, group.positions);
}

}  // namespace

extern const LatticeLoops kAvx512Lattice;
const LatticeLoops kAvx512Lattice{"avx512", 4, Lockstep<Avx512>::decode, take};

}  // namespace rarefy
