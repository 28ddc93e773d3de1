// What tests/test_neon.py writes and this program reads: arrays, each with the bytes of an item, its dimensions, and its
// values. All numbers are little-endian; single ones are arrays of one 64-bit integer.
#pragma once

#include <cstdint>
#include <cstring>
#include <fstream>
#include <stdexcept>
#include <vector>

namespace replay {

template <typename T>
struct Array {
    std::vector<int64_t> shape;
    std::vector<T> values;

    const T* data() const { return values.data(); }
    size_t size() const { return values.size(); }
};

class Records {
public:
    explicit Records(const char* path) : file_(path, std::ios::binary) {
        if (!file_) throw std::runtime_error("the file of records cannot be read");
    }

    bool is_at_end() { return file_.peek() == std::ifstream::traits_type::eof(); }

    template <typename T>
    Array<T> array() {
        if (read<int64_t>() != int64_t{sizeof(T)}) throw std::runtime_error("an array of another type is expected");
        Array<T> array;
        array.shape.resize(static_cast<size_t>(read<int64_t>()));
        size_t size = 1;
        for (int64_t& extent : array.shape) size *= static_cast<size_t>(extent = read<int64_t>());
        array.values.resize(size);
        take(array.values.data(), size * sizeof(T));
        return array;
    }

    int64_t number() { return array<int64_t>().values.at(0); }

private:
    template <typename T>
    T read() {
        T value;
        take(&value, sizeof value);
        return value;
    }

    void take(void* to, size_t bytes) {
        file_.read(static_cast<char*>(to), static_cast<std::streamsize>(bytes));
        if (!file_) throw std::runtime_error("the file of records ends too early");
    }

    std::ifstream file_;
};

// Throws where found and expected differ in a bit.
template <typename T>
void require_same(const T* found, const Array<T>& expected, const char* what) {
    if (expected.size() > 0 && std::memcmp(found, expected.data(), expected.size() * sizeof(T)) != 0)
        throw std::runtime_error(what);
}

inline void require(bool holds, const char* what) {
    if (!holds) throw std::runtime_error(what);
}

// Each takes one record and throws where this processor gives something else.
void check_dense(Records& records);
void check_block(Records& records);
void check_stream(Records& records);
void check_damaged_stream(Records& records);
void check_choose(Records& records);
void check_take(Records& records);
void check_tokens(Records& records);

}  // namespace replay
