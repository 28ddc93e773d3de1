// CUDA on one thread of the CPU, for tests: every thread of a block is a fibre that runs until it meets the others of its
// warp (a vote, a shuffle, a barrier). What a GPU leaves undefined is an error here: threads of one warp at different
// meetings, or one that has left while others wait. Shared memory holds noise at first, and must not be written beyond
// its end.
#pragma once

#include <setjmp.h>
#include <ucontext.h>

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#define __global__
#define __shared__
#define __launch_bounds__(...)

struct uint2 {
    uint32_t x, y;
};
struct alignas(16) uint4 {
    uint32_t x, y, z, w;
};
struct Index {
    uint32_t x;
};

inline uint2 make_uint2(uint32_t x, uint32_t y) { return {x, y}; }

static Index threadIdx, blockIdx, blockDim, gridDim;

namespace emulation {

constexpr size_t kSharedBytes = 232448;  // of a block on sm_90
constexpr size_t kStackBytes = 64 * 1024;
constexpr uint32_t kWarp = 32;

enum class Meeting { none, vote, shuffle, warp_barrier, block_barrier, end };

struct Fibre {
    ucontext_t start;
    jmp_buf place;
    bool is_started = false;
    Meeting meeting = Meeting::none;
    std::unique_ptr<char[]> stack;
};

struct Warp {
    uint64_t given[2][kWarp];  // what each thread brings to a meeting; of two meetings, since some run ahead
    uint32_t turn[kWarp];
};

struct Block {
    std::vector<Fibre> fibres;
    std::vector<Warp> warps;
    jmp_buf scheduler;
    std::function<void()> body;
    std::string fault;
};

static Block block;

// Leave to the scheduler until all threads that must have come to this meeting.
inline void meet(Meeting meeting) {
    Fibre& self = block.fibres[threadIdx.x];
    self.meeting = meeting;
    if (_setjmp(self.place) == 0) _longjmp(block.scheduler, 1);
}

// Bring a value to a meeting of the warp; returns what all have brought.
inline const uint64_t* exchange(uint32_t mask, Meeting meeting, uint64_t value) {
    if (mask != 0xffffffffu) throw std::logic_error("a mask that is not the whole warp");
    Warp& warp = block.warps[threadIdx.x / kWarp];
    const uint32_t lane = threadIdx.x % kWarp;
    const uint32_t turn = warp.turn[lane]++ % 2;
    warp.given[turn][lane] = value;
    meet(meeting);
    return warp.given[turn];
}

inline void run_fibre() {
    try {
        block.body();
    } catch (const std::exception& error) {  // there is nothing below a fibre's stack
        block.fault = error.what();
    }
    meet(Meeting::end);
}

inline void resume(uint32_t thread) {
    Fibre& fibre = block.fibres[thread];
    threadIdx.x = thread;
    if (_setjmp(block.scheduler) != 0) return;
    if (fibre.is_started) _longjmp(fibre.place, 1);
    fibre.is_started = true;
    setcontext(&fibre.start);
}

inline void throw_fault() {
    if (!block.fault.empty()) throw std::runtime_error(block.fault);
}

// Run the threads of a warp to their next meeting, which must be one.
inline Meeting advance(uint32_t warp) {
    for (uint32_t lane = 0; lane < kWarp; ++lane) resume(warp * kWarp + lane);
    throw_fault();
    const Meeting first = block.fibres[warp * kWarp].meeting;
    for (uint32_t lane = 1; lane < kWarp; ++lane)
        if (block.fibres[warp * kWarp + lane].meeting != first) throw std::runtime_error("the threads of a warp part");
    return first;
}

inline void start_block(uint32_t threads) {
    block.fault.clear();
    block.fibres.resize(threads);
    block.warps.assign(threads / kWarp, Warp{});
    for (Fibre& fibre : block.fibres) {
        if (!fibre.stack) fibre.stack = std::make_unique<char[]>(kStackBytes);
        getcontext(&fibre.start);
        fibre.start.uc_stack.ss_sp = fibre.stack.get();
        fibre.start.uc_stack.ss_size = kStackBytes;
        makecontext(&fibre.start, run_fibre, 0);
        fibre.is_started = false;
        fibre.meeting = Meeting::none;
    }
}

// Warps run one after the other from one barrier of the block to the next, the last one first on every other stretch:
// no order is promised.
inline void run_block(uint32_t threads) {
    start_block(threads);
    const uint32_t warps = threads / kWarp;
    uint32_t ended = 0;
    for (uint32_t stretch = 0; ended < warps; ++stretch) {
        ended = 0;
        for (uint32_t i = 0; i < warps; ++i) {
            const uint32_t warp = stretch % 2 ? i : warps - 1 - i;
            Meeting meeting = block.fibres[warp * kWarp].meeting;
            while (meeting != Meeting::end) {
                meeting = advance(warp);
                if (meeting == Meeting::block_barrier) break;
            }
            ended += meeting == Meeting::end;
        }
        if (ended != 0 && ended != warps) throw std::runtime_error("a warp has left while others wait at a barrier");
    }
}

}  // namespace emulation

inline uint32_t __ballot_sync(uint32_t mask, bool is_voting) {
    const uint64_t* votes = emulation::exchange(mask, emulation::Meeting::vote, is_voting);
    uint32_t result = 0;
    for (uint32_t lane = 0; lane < emulation::kWarp; ++lane) result |= static_cast<uint32_t>(votes[lane] << lane);
    return result;
}
inline int __any_sync(uint32_t mask, bool is_voting) { return __ballot_sync(mask, is_voting) != 0; }

template <typename T>
T __shfl_sync(uint32_t mask, T value, int source) {
    return static_cast<T>(emulation::exchange(mask, emulation::Meeting::shuffle, static_cast<uint64_t>(value))[source % 32]);
}
template <typename T>
T __shfl_up_sync(uint32_t mask, T value, uint32_t distance) {
    const uint64_t* given = emulation::exchange(mask, emulation::Meeting::shuffle, static_cast<uint64_t>(value));
    const uint32_t lane = threadIdx.x % emulation::kWarp;
    return static_cast<T>(given[lane < distance ? lane : lane - distance]);
}
inline void __syncwarp() { emulation::meet(emulation::Meeting::warp_barrier); }
inline void __syncthreads() { emulation::meet(emulation::Meeting::block_barrier); }
inline int __popc(uint32_t value) { return __builtin_popcount(value); }
inline int __ffs(int value) { return __builtin_ffs(value); }
inline uint32_t atomicAdd(uint32_t* place, uint32_t value) {
    const uint32_t before = *place;
    *place += value;
    return before;
}
