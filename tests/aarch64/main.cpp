// Run the records of a file on this processor: prints its instruction sets and how many records agreed, fails at the
// first that does not.
#include <cstdio>
#include <exception>
#include <iterator>

#include "int8_work.h"
#include "records.h"

int main(int count, char** arguments) {
    // In the order of KINDS in tests/test_neon.py.
    constexpr void (*kChecks[])(replay::Records&) = {&replay::check_dense,          &replay::check_block,
                                                     &replay::check_stream,         &replay::check_damaged_stream,
                                                     &replay::check_choose,         &replay::check_take,
                                                     &replay::check_tokens};
    if (count != 2) {
        std::fprintf(stderr, "one file of records is needed\n");
        return 2;
    }
    for (const rarefy::InstructionSet* set : rarefy::instruction_sets()) std::printf("%s ", set->name);
    int64_t done = 0;
    try {
        for (replay::Records records(arguments[1]); !records.is_at_end(); ++done) {
            const int64_t kind = records.number();
            replay::require(0 <= kind && kind < int64_t{std::size(kChecks)}, "a record of an unknown kind");
            kChecks[kind](records);
        }
    } catch (const std::exception& failure) {
        std::fprintf(stderr, "record %lld: %s\n", static_cast<long long>(done), failure.what());
        return 1;
    }
    std::printf("%lld\n", static_cast<long long>(done));
    return 0;
}
