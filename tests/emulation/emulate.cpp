// The kernels as they are, on the CPU: the test builds this as a library and calls `launch` as it would a driver.
#include "emulate.h"

#include "../../kernels/cuda/coder.cuh"

alignas(16) uint4 shared_memory[emulation::kSharedBytes / 16];

namespace {

constexpr unsigned char kNoise = 0xa5;
std::string fault;

template <typename Arguments>
std::function<void()> bound(void (*kernel)(Arguments), const void* arguments) {
    return [kernel, arguments] { kernel(*static_cast<const std::remove_const_t<Arguments>*>(arguments)); };
}

std::function<void()> find(const std::string& name, const void* arguments) {
    if (name == "open_streams") return bound(open_streams, arguments);
    if (name == "finish_streams") return bound(finish_streams, arguments);
#define RAREFY_FIND(NAME)                                                   \
    if (name == "decode_" #NAME) return bound(decode_##NAME, arguments);    \
    if (name == "measure_" #NAME) return bound(measure_##NAME, arguments);  \
    if (name == "encode_" #NAME) return bound(encode_##NAME, arguments);
    RAREFY_FIND(uint8_shared)
    RAREFY_FIND(uint16_shared)
    RAREFY_FIND(uint8_global)
    RAREFY_FIND(uint16_global)
    throw std::invalid_argument("no kernel " + name);
}

void run(const std::string& name, const void* arguments, uint32_t blocks, uint32_t threads, uint32_t shared_bytes) {
    if (threads % emulation::kWarp != 0 || threads == 0 || threads > rarefy::kMostThreads || blocks == 0)
        throw std::invalid_argument("a size of the launch");
    if (shared_bytes > emulation::kSharedBytes) throw std::invalid_argument("too much shared memory");
    emulation::block.body = find(name, arguments);
    gridDim.x = blocks;
    blockDim.x = threads;
    auto* shared = reinterpret_cast<unsigned char*>(shared_memory);
    for (blockIdx.x = 0; blockIdx.x < blocks; ++blockIdx.x) {
        std::memset(shared, kNoise, emulation::kSharedBytes);
        emulation::run_block(threads);
        for (size_t i = shared_bytes; i < emulation::kSharedBytes; ++i)
            if (shared[i] != kNoise) throw std::runtime_error("shared memory was written beyond its end");
    }
}

}  // namespace

extern "C" int launch(const char* name, const void* arguments, uint32_t blocks, uint32_t threads, uint32_t shared_bytes) {
    try {
        run(name, arguments, blocks, threads, shared_bytes);
        return 0;
    } catch (const std::exception& error) {
        fault = error.what();
        return 1;
    }
}

extern "C" const char* last_fault() { return fault.c_str(); }
