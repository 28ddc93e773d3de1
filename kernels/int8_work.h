// Which instruction sets there are here, and how a job's tiles are shared out.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#if defined(RAREFY_ARM) && defined(__linux__)
#include <sys/auxv.h>
#endif

#include "int8.h"
#include "int8_layer.h"
#include "parallel.h"

namespace rarefy {

#if defined(RAREFY_ARM)
inline bool has_dot_products() {
#if defined(__ARM_FEATURE_DOTPROD)  // every processor that this build is for, as Apple's are
    return true;
#elif defined(__linux__)
    return getauxval(AT_HWCAP) & 1ul << 20;  // HWCAP_ASIMDDP, which old headers lack
#else
    return false;
#endif
}
#endif

// Those of this build that this processor has, the best first.
inline const std::vector<const InstructionSet*>& instruction_sets() {
    static const std::vector<const InstructionSet*> sets = [] {
        std::vector<const InstructionSet*> found;
#if defined(RAREFY_X86)
        __builtin_cpu_init();
        if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
            __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni"))
            found.push_back(&avx512_instructions());
        if (__builtin_cpu_supports("avx2")) found.push_back(&avx2_instructions());
#elif defined(RAREFY_ARM)
        if (has_dot_products()) found.push_back(&dotprod_instructions());
        found.push_back(&neon_instructions());  // every processor of the architecture has it
#endif
        found.push_back(&plain_instructions());
        return found;
    }();
    return sets;
}

constexpr double kWorthAThread = 8e6;  // products: starting a thread takes as long as a third of these (docs/KERNELS.md)

inline double products(const LayerView& layer) { return double(layer.inputs) * layer.outputs; }

inline double products(const DenseJob& job) { return job.shape.positions() * products(job.layer); }

inline double products(const BlockJob& job) {
    return job.shape.positions() * (products(job.spatial) + products(job.expand) + products(job.reduce));
}

inline int threads_for(double products, int threads) {
    return static_cast<int>(std::clamp(products / kWorthAThread, 1.0, double(std::max(threads, 1))));
}

inline int64_t tiles_of(const InstructionSet& set, const Shape& shape) {
    return (shape.positions() + set.tile - 1) / set.tile;
}

inline void run(const InstructionSet& set, const BlockJob& job, int threads) {
    in_parallel(tiles_of(set, job.shape), threads_for(products(job), threads), [&](const auto& next) {
        const AlignedMemory scratch = aligned_memory(set.block_scratch(job));
        for (int64_t tile = next(); tile >= 0; tile = next()) set.block(job, tile, scratch.get());
    });
}

// Several jobs at once: tiles are numbered through.
inline void run(const InstructionSet& set, const std::vector<DenseJob>& jobs, int threads) {
    std::vector<int64_t> ends;
    size_t scratch_bytes = 0;
    double all_products = 0;
    for (const DenseJob& job : jobs) {
        ends.push_back((ends.empty() ? 0 : ends.back()) + tiles_of(set, job.shape));
        scratch_bytes = std::max(scratch_bytes, set.dense_scratch(job));
        all_products += products(job);
    }
    in_parallel(ends.back(), threads_for(all_products, threads), [&](const auto& next) {
        const AlignedMemory scratch = aligned_memory(scratch_bytes);
        for (int64_t tile = next(); tile >= 0; tile = next()) {
            const auto own = static_cast<size_t>(std::upper_bound(ends.begin(), ends.end(), tile) - ends.begin());
            set.dense(jobs[own], tile - (own ? ends[own - 1] : 0), scratch.get());
        }
    });
}

}  // namespace rarefy
