// Functions compiled for several widths of vectors, of which the loader takes the widest that the processor has.
#pragma once

#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__)
#define RAREFY_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define RAREFY_CLONES
#endif
