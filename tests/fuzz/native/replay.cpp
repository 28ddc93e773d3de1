// Runs the target over inputs that were kept, without a fuzzer: files of one input each, or with --packed a file of
// many, each behind its length in two bytes.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

using Bytes = std::vector<uint8_t>;

bool read(const char* path, Bytes& bytes) {
    std::ifstream file(path, std::ios::binary);
    bytes.assign(std::istreambuf_iterator<char>(file), {});
    return file.good() || file.eof();
}

bool unpack(const Bytes& packed, std::vector<Bytes>& inputs) {
    for (size_t at = 0; at < packed.size();) {
        if (packed.size() - at < 2) return false;
        const size_t size = packed[at] | size_t{packed[at + 1]} << 8;
        at += 2;
        if (packed.size() - at < size) return false;
        inputs.emplace_back(packed.begin() + static_cast<ptrdiff_t>(at), packed.begin() + static_cast<ptrdiff_t>(at + size));
        at += size;
    }
    return true;
}

}  // namespace

int main(int count, char** arguments) {
    const bool is_packed = count > 1 && std::strcmp(arguments[1], "--packed") == 0;
    std::vector<Bytes> inputs;
    for (int i = is_packed ? 2 : 1; i < count; ++i) {
        Bytes bytes;
        if (!read(arguments[i], bytes) || (is_packed && !unpack(bytes, inputs))) {
            std::fprintf(stderr, "%s: cannot be read\n", arguments[i]);
            return 2;
        }
        if (!is_packed) inputs.push_back(bytes);
    }
    for (const Bytes& input : inputs) LLVMFuzzerTestOneInput(input.data(), input.size());
    std::printf("%zu inputs\n", inputs.size());
    return 0;
}
