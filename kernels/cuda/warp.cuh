// What a warp does together. One warp works on one section: its thread i holds a lane's state, and takes the i-th symbol of
// every round.
#pragma once

#include <cstdint>

#include "arguments.cuh"

extern __shared__ uint4 shared_memory[];

namespace rarefy {

constexpr uint32_t kWarp = 32;
constexpr uint32_t kAll = 0xffffffffu;
constexpr uint32_t kMostThreads = 512;

inline uint32_t thread_of_warp() { return threadIdx.x % kWarp; }

// The threads of a mask that come before one.
inline uint32_t rank_in(uint32_t mask, uint32_t thread) {
    return static_cast<uint32_t>(__popc(mask & ((1u << thread) - 1)));
}

// The sum over this thread and those before it.
inline uint32_t sum_up_to(uint32_t thread, uint32_t value) {
    for (uint32_t distance = 1; distance < kWarp; distance *= 2) {
        const uint32_t other = __shfl_up_sync(kAll, value, distance);
        if (thread >= distance) value += other;
    }
    return value;
}

// Symbols whose row is certain take no part in the coding, yet rows come by the warp: coded ones wait here until there is
// one for each lane. Two words an item; one queue a warp, in shared memory.
class Queue {
public:
    static constexpr uint32_t kItems = 2 * kWarp;

    explicit Queue(uint2* items) : items_(items) {}

    uint32_t count() const { return count_; }

    // Append the items of the threads that have one, in the order of threads.
    void push(bool is_pushed, uint2 item) {
        const uint32_t pushed = __ballot_sync(kAll, is_pushed);
        __syncwarp();  // the places may just have been read
        if (is_pushed) items_[(first_ + count_ + rank_in(pushed, thread_of_warp())) % kItems] = item;
        count_ += static_cast<uint32_t>(__popc(pushed));
        __syncwarp();
    }

    // Take the first `count` items, one a thread; the other threads get what they must not use.
    uint2 pop(uint32_t count) {
        const uint2 item = items_[(first_ + thread_of_warp()) % kItems];
        first_ += count;
        count_ -= count;
        return item;
    }

    void clear() { count_ = 0; }

private:
    uint2* items_;
    uint32_t first_ = 0;
    uint32_t count_ = 0;
};

inline Queue queue_of_warp(const TableWords& tables) {
    const uint32_t table_size = tables.is_shared ? tables.word_count / 4 : 0;
    auto* queues = reinterpret_cast<uint2*>(shared_memory + table_size);
    return Queue(queues + threadIdx.x / kWarp * Queue::kItems);
}

// Copy the tables to where all warps of the block find them, if they are to be there.
template <bool kIsShared>
const uint32_t* place_tables(const TableWords& tables) {
    if (!kIsShared) return tables.words;
    const auto* source = reinterpret_cast<const uint4*>(tables.words);
    for (uint32_t i = threadIdx.x; i < tables.word_count / 4; i += blockDim.x) shared_memory[i] = source[i];
    __syncthreads();
    return reinterpret_cast<const uint32_t*>(shared_memory);
}

// Give the warp a section that no other has; false if there is none.
inline bool take_section(const Sections& sections, uint32_t& section) {
    uint32_t taken = 0;
    if (thread_of_warp() == 0) taken = atomicAdd(sections.next, 1u);
    section = __shfl_sync(kAll, taken, 0);
    return section < sections.count;
}

inline bool section_is_valid(const Sections& sections, uint32_t section) {
    const int64_t begin = sections.starts[section], end = sections.starts[section + 1];
    return 0 <= begin && begin <= end && end <= sections.symbol_count && end - begin < kMostSymbols;
}

}  // namespace rarefy
