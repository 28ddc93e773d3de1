// The coder's inner loops of each instruction set that this processor has, the best last; all must do the same.
#pragma once

#include <vector>

#include "loops.h"
#include "loops_plain.h"

namespace rarefy {
#if defined(RAREFY_X86)
extern const Loops kAvx512Loops;
#endif
}  // namespace rarefy

namespace rarefy::fuzz {

inline const std::vector<const Loops*>& every_loop() {
    static const std::vector<const Loops*> loops = [] {
        std::vector<const Loops*> found{&plain::kLoops};
#if defined(RAREFY_X86)
        __builtin_cpu_init();
        if (__builtin_cpu_supports("avx512vbmi2")) found.push_back(&kAvx512Loops);  // such processors have all the rest
#endif
        return found;
    }();
    return loops;
}

}  // namespace rarefy::fuzz
