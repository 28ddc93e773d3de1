// The entry point that libFuzzer calls, and replay.cpp for inputs that were kept. Counts what became of the inputs.
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>

#include "coder.h"
#include "input.h"

namespace {

using rarefy::Status;
using rarefy::fuzz::Input;

struct Target {
    const char* name;
    Status (*run)(Input&);
};

constexpr Target kDecode{"decode", &rarefy::fuzz::decode_hostile};
constexpr Target kRoundTrip{"round-trip", &rarefy::fuzz::round_trip};
constexpr Target kBorders{"borders", &rarefy::fuzz::every_border};

// The first byte chooses. Eight places, so that a new target takes over a double and inputs that were kept keep theirs.
constexpr std::array<Target, 8> kTargets{kDecode,    kRoundTrip, kBorders, kDecode,
                                         kRoundTrip, kDecode,    kBorders, kRoundTrip};

// Printed when the process ends: "outcome TARGET STATUS COUNT".
struct Outcomes {
    static constexpr size_t kStatuses = 16;
    std::array<std::array<uint64_t, kStatuses>, kTargets.size()> counts{};

    ~Outcomes() {
        for (size_t place = 0; place < kTargets.size(); ++place)
            for (size_t status = 0; status < kStatuses; ++status)
                if (counts[place][status] > 0)
                    std::fprintf(stderr, "outcome %s %zu %llu\n", kTargets[place].name, status,
                                 static_cast<unsigned long long>(counts[place][status]));
    }
};

Outcomes outcomes;

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    Input input(data, size);
    const size_t place = input.byte() % kTargets.size();
    ++outcomes.counts[place].at(static_cast<size_t>(kTargets[place].run(input)));
    return 0;
}
