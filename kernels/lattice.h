// The lattice bottleneck's contexts and coding (docs/LATTICE.md): entropy/lattice_integers.py defines them, this must give
// its bytes. All sums are of 32 bits, and the weights were proved not to leave them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "clones.h"
#include "decoder.h"
#include "encoder.h"
#include "lattice_batch.h"
#include "tables.h"

namespace rarefy {

// A term of a sum: a row of features and what it is multiplied with.
struct Term {
    uint16_t row;
    int16_t weight;
};

// What one channel of one step sums up. Rows of means and scales: neighbours, NEIGHBOURS times the channels; of
// differences: half as many; across: the channels before.
struct ChannelTerms {
    std::vector<Term> means, means_across, scales, differences, scales_across;
};

// Where the positions of each step are in a unit, and their neighbours: entropy/lattice.py, `places`. Where there is no
// neighbour, its place is that behind the last one.
struct Geometry {
    const int32_t* own;         // of all steps, one after the other
    const int32_t* neighbours;  // [kNeighbours, n] of each step that has some
    const int32_t* counts;      // positions of each step
    size_t positions;           // of the unit
};

#if defined(__GNUC__)

constexpr size_t kLanes = 16;
typedef int32_t Sums __attribute__((vector_size(4 * kLanes)));
typedef int16_t Values __attribute__((vector_size(2 * kLanes)));

// Sums of two vectors of positions stay in registers over all terms; rows are padded to whole blocks.
RAREFY_CLONES static void add_terms(const Term* terms, size_t count, const int16_t* rows, size_t n, int32_t* sums) {
    for (size_t i = 0; i < n; i += 2 * kLanes) {
        Sums left, right;
        std::memcpy(&left, sums + i, sizeof left);
        std::memcpy(&right, sums + i + kLanes, sizeof right);
        for (size_t t = 0; t < count; ++t) {
            const int16_t* row = rows + terms[t].row * kPositions + i;
            Values low, high;
            std::memcpy(&low, row, sizeof low);
            std::memcpy(&high, row + kLanes, sizeof high);
            left += terms[t].weight * __builtin_convertvector(low, Sums);
            right += terms[t].weight * __builtin_convertvector(high, Sums);
        }
        std::memcpy(sums + i, &left, sizeof left);
        std::memcpy(sums + i + kLanes, &right, sizeof right);
    }
}

#else

static void add_terms(const Term* terms, size_t count, const int16_t* rows, size_t n, int32_t* sums) {
    for (size_t t = 0; t < count; ++t) {
        const int16_t* row = rows + terms[t].row * kPositions;
        const int32_t weight = terms[t].weight;
        for (size_t i = 0; i < n; ++i) sums[i] += weight * row[i];
    }
}

#endif

RAREFY_CLONES static void magnitudes(const int16_t* values, size_t n, int16_t* out) {
    for (size_t i = 0; i < n; ++i) out[i] = static_cast<int16_t>(values[i] < 0 ? -values[i] : values[i]);
}

RAREFY_CLONES static void distances(const int16_t* left, const int16_t* right, size_t n, int16_t* out) {
    for (size_t i = 0; i < n; ++i) {
        const auto difference = static_cast<int16_t>(left[i] - right[i]);
        out[i] = static_cast<int16_t>(difference < 0 ? -difference : difference);
    }
}

// Means in eighths of a step, and the rows of the tables.
RAREFY_CLONES static void finish_sums(int32_t* means, const int32_t* scales, size_t n, int32_t least, int32_t most,
                                    int32_t first_index, uint16_t* rows) {
    for (size_t i = 0; i < n; ++i) {
        const int32_t mean = (means[i] + (1 << (kMeanBits - 1))) >> kMeanBits;
        means[i] = mean;
        // A float holds so small an integer exactly, and begins with its exponent and leading bits.
        const auto scale = static_cast<float>(std::min(std::max(scales[i], least), most));
        int32_t bits;
        std::memcpy(&bits, &scale, sizeof bits);
        const int32_t index = (bits >> (23 - kSubOctaveBits)) - (127 << kSubOctaveBits) - first_index;
        rows[i] = static_cast<uint16_t>((index << kFractionBits) + (mean & ((1 << kFractionBits) - 1)));
    }
}

class LatticeModel {
public:
    LatticeModel(PackedTables tables, size_t channels, int32_t least, int32_t most, int32_t first_index)
        : tables_(std::move(tables)), channels_(channels), least_(least), most_(most), first_index_(first_index) {}

    size_t channels() const { return channels_; }
    size_t steps() const { return terms_.size() / channels_; }

    // Step by step, in each channel by channel.
    void add(ChannelTerms terms) { terms_.push_back(std::move(terms)); }

    const std::vector<ChannelTerms>& terms() const { return terms_; }

    // Tell whether there is a table for every scale and fraction of a mean.
    bool rows_fit() const {
        int32_t means[2] = {0, -(1 << kMeanBits)}, scales[2] = {0, INT32_MAX};
        uint16_t rows[2];
        finish_sums(means, scales, 2, least_, most_, first_index_, rows);
        return rows[0] == 0 && rows[1] < tables_.rows.size();
    }

    // start: scales without neighbours of one quality level, [steps, channels]; latents: [channels, positions].
    Status decode(const uint8_t* data, size_t size, const Geometry& geometry, const int32_t* start,
                  int16_t* latents) const {
        StreamDecoder stream(data, size);
        Status status = stream.status();
        if (status == Status::ok) status = decode(stream, geometry, start, latents);
        return status == Status::ok ? stream.finish() : status;
    }

    Status decode(StreamDecoder& stream, const Geometry& geometry, const int32_t* start, int16_t* latents) const {
        std::vector<int16_t> symbols(kPositions);
        return walk(geometry, start, latents, [&](const uint16_t* rows, const int32_t* means, size_t n, int16_t* here) {
            const Status status = stream.decode(tables_, rows, n, symbols.data());
            if (status != Status::ok) return status;
            bool fits = true;
            for (size_t i = 0; i < n; ++i) {
                const int32_t value = symbols[i] + (means[i] >> kFractionBits);
                fits &= value >= INT16_MIN && value <= INT16_MAX;
                here[i] = static_cast<int16_t>(value);
            }
            return fits ? Status::ok : Status::escape_range;
        });
    }

    // What the coder gets: symbols and rows in the order of coding, [channels positions] each. False where a symbol
    // needs more than 16 bits.
    bool prepare(const Geometry& geometry, const int32_t* start, const int16_t* latents, int16_t* symbols,
                 uint16_t* all_rows) const {
        std::vector<int16_t> copy(latents, latents + channels_ * geometry.positions);  // it is written to again
        const auto put = [&](const uint16_t* rows, const int32_t* means, size_t n, int16_t* here) {
            bool fits = true;
            for (size_t i = 0; i < n; ++i) {
                const int32_t symbol = here[i] - (means[i] >> kFractionBits);
                fits &= symbol >= INT16_MIN && symbol <= INT16_MAX;
                *symbols++ = static_cast<int16_t>(symbol);
            }
            all_rows = std::copy_n(rows, n, all_rows);
            return fits ? Status::ok : Status::escape_range;
        };
        return walk(geometry, start, copy.data(), put) == Status::ok;
    }

    const PackedTables& tables() const { return tables_; }

private:
    // Positions of a block of a step, and what is known around them.
    struct Block {
        std::vector<int16_t> around, sizes, apart, seen, residuals;
        std::vector<int32_t> means, scales;
        std::vector<uint16_t> rows;
        std::vector<int16_t> here;

        explicit Block(size_t channels)
            : around(kNeighbours * channels * kPositions), sizes(around.size()), apart(around.size() / 2),
              seen(channels * kPositions), residuals(channels * kPositions), means(kPositions), scales(kPositions),
              rows(kPositions), here(kPositions) {}
    };

    template <class Put>
    Status walk(const Geometry& geometry, const int32_t* start, int16_t* latents, const Put& put) const {
        Block block(channels_);
        const size_t stride = geometry.positions + 1;  // of the planes; one place more for neighbours that are not there
        std::vector<int16_t> planes(channels_ * stride);
        const int32_t* own = geometry.own;
        const int32_t* neighbours = geometry.neighbours;
        for (size_t step = 0; step < steps(); ++step) {
            const size_t count = static_cast<size_t>(geometry.counts[step]);
            for (size_t first = 0; first < count; first += kPositions) {
                const size_t n = std::min(kPositions, count - first);
                if (step) gather(planes.data(), stride, neighbours + first, count, n, block);
                const Status status = channels_of(step, own + first, n, start, latents, planes.data(), stride, block, put);
                if (status != Status::ok) return status;
            }
            own += count;
            if (step) neighbours += kNeighbours * count;
        }
        return Status::ok;
    }

    void gather(const int16_t* planes, size_t plane_stride, const int32_t* neighbours, size_t stride, size_t n,
                Block& block) const {
        for (size_t k = 0; k < kNeighbours; ++k) {
            const int32_t* at = neighbours + k * stride;
            for (size_t c = 0; c < channels_; ++c) {
                const int16_t* plane = planes + c * plane_stride;
                int16_t* row = &block.around[(k * channels_ + c) * kPositions];
                for (size_t i = 0; i < n; ++i) row[i] = plane[at[i]];
                magnitudes(row, n, &block.sizes[(k * channels_ + c) * kPositions]);
            }
        }
        for (size_t pair = 0; pair < kNeighbours / 2; ++pair)
            for (size_t c = 0; c < channels_; ++c) {
                const int16_t* left = &block.around[(2 * pair * channels_ + c) * kPositions];
                const int16_t* right = left + channels_ * kPositions;
                distances(left, right, n, &block.apart[(pair * channels_ + c) * kPositions]);
            }
    }

    template <class Put>
    Status channels_of(size_t step, const int32_t* own, size_t n, const int32_t* start, int16_t* latents,
                       int16_t* planes, size_t stride, Block& block, const Put& put) const {
        for (size_t c = 0; c < channels_; ++c) {
            const ChannelTerms& terms = terms_[step * channels_ + c];
            std::fill_n(block.means.data(), n, 0);
            std::fill_n(block.scales.data(), n, start[step * channels_ + c]);
            if (step) {
                add(terms.means, block.around, n, block.means);
                add(terms.scales, block.sizes, n, block.scales);
                add(terms.differences, block.apart, n, block.scales);
            }
            add(terms.means_across, block.seen, n, block.means);
            add(terms.scales_across, block.residuals, n, block.scales);
            finish_sums(block.means.data(), block.scales.data(), n, least_, most_, first_index_, block.rows.data());
            int16_t *plane = latents + c * (stride - 1), *seen_plane = planes + c * stride;
            for (size_t i = 0; i < n; ++i) block.here[i] = plane[own[i]];
            const Status status = put(block.rows.data(), block.means.data(), n, block.here.data());
            if (status != Status::ok) return status;
            int16_t *seen = &block.seen[c * kPositions], *residual = &block.residuals[c * kPositions];
            for (size_t i = 0; i < n; ++i) {
                const int32_t value = block.here[i];
                seen[i] = static_cast<int16_t>(std::min(std::max(value, -kLargestSeen), kLargestSeen));
                const int32_t distance = std::abs(value * (1 << kFractionBits) - block.means[i]);
                residual[i] = static_cast<int16_t>(std::min(distance, kLargestResidual));
            }
            for (size_t i = 0; i < n; ++i) {
                plane[own[i]] = block.here[i];
                seen_plane[own[i]] = seen[i];
            }
        }
        return Status::ok;
    }

    static void add(const std::vector<Term>& terms, const std::vector<int16_t>& rows, size_t n,
                    std::vector<int32_t>& sums) {
        add_terms(terms.data(), terms.size(), rows.data(), n, sums.data());
    }

    PackedTables tables_;
    size_t channels_;
    int32_t least_, most_, first_index_;
    std::vector<ChannelTerms> terms_;
};

}  // namespace rarefy
