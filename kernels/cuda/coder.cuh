// The kernels, by the names that rarefy/entropy/cuda.py asks for.
#pragma once

#include "decode.cuh"
#include "encode.cuh"

extern "C" __global__ void open_streams(const rarefy::OpenArguments arguments) { rarefy::open_streams(arguments); }

extern "C" __global__ void finish_streams(const rarefy::FinishArguments arguments) { rarefy::finish_streams(arguments); }

#define RAREFY_CODER(NAME, ROW_INDEX, IS_SHARED)                                                                         \
    extern "C" __global__ void __launch_bounds__(rarefy::kMostThreads, 2)                                                \
        decode_##NAME(const rarefy::DecodeArguments arguments) {                                                         \
        rarefy::decode_sections<ROW_INDEX, IS_SHARED>(arguments);                                                        \
    }                                                                                                                    \
    extern "C" __global__ void __launch_bounds__(rarefy::kMostThreads, 2)                                                \
        measure_##NAME(const rarefy::EncodeArguments arguments) {                                                        \
        rarefy::encode_sections<ROW_INDEX, IS_SHARED, false>(arguments);                                                 \
    }                                                                                                                    \
    extern "C" __global__ void __launch_bounds__(rarefy::kMostThreads, 2)                                                \
        encode_##NAME(const rarefy::EncodeArguments arguments) {                                                         \
        rarefy::encode_sections<ROW_INDEX, IS_SHARED, true>(arguments);                                                  \
    }

RAREFY_CODER(uint8_shared, uint8_t, true)
RAREFY_CODER(uint16_shared, uint16_t, true)
RAREFY_CODER(uint8_global, uint8_t, false)
RAREFY_CODER(uint16_global, uint16_t, false)
