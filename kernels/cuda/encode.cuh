// Encoding one section by one warp, backwards: once to learn its size, once more to write it.
#pragma once

#include "warp.cuh"

namespace rarefy {

constexpr uint32_t kNoEscape = 0xffffffffu;

// Two words a row (where its entries begin, with the highest bit for coded ones; offset and number of values), then the
// entries at the next multiple of four words.
struct EncodeTable {
    const uint2* rows;
    const EncodeEntry* entries;
    int precision;

    EncodeTable(const uint32_t* words, const TableWords& tables)
        : rows(reinterpret_cast<const uint2*>(words)),
          entries(reinterpret_cast<const EncodeEntry*>(words + (2 * tables.row_count + 3) / 4 * 4)),
          precision(tables.precision) {}

    static bool is_coded(uint2 row) { return row.x >> 31; }
    static int32_t offset(uint2 row) { return static_cast<int16_t>(row.y & 0xffff); }

    // The entry of a symbol under a coded row, and what follows if that is the escape.
    static uint2 item(uint2 row, int32_t symbol) {
        const uint32_t first_entry = row.x & 0x7fffffffu, value_count = row.y >> 16;
        const int32_t index = symbol - offset(row);
        const auto number = static_cast<uint32_t>(index);
        if (number < value_count) return make_uint2(first_entry + number, kNoEscape);
        return make_uint2(first_entry + value_count, fold(index, value_count));
    }
};

// Holds the one word that a symbol without escape may give.
struct HeldWord {
    uint32_t value = 0;
    bool is_due = false;

    void put_if(bool is_needed, uint32_t& state) {
        value = state & 0xffff;
        is_due = is_needed;
        state = is_needed ? state >> 16 : state;
    }
};

// Counts words.
struct CountedWords {
    uint32_t count = 0;

    void put_if(bool is_due, uint32_t& state) {
        count += is_due;
        state = is_due ? state >> 16 : state;
    }
};

// Writes words where the decoder takes them: each before the one that was put before.
struct BackwardWords {
    uint16_t* end;

    void put_if(bool is_due, uint32_t& state) {
        if (!is_due) return;
        *--end = static_cast<uint16_t>(state);
        state >>= 16;
    }
};

template <bool kIsWriting>
class SectionEncoder {
public:
    // end: behind the last byte of the stream; used for writing only.
    SectionEncoder(const TableWords& tables, const uint32_t* words, uint32_t lanes, uint8_t* end)
        : table_(words, tables),
          row_count_(tables.row_count),
          lanes_(lanes),
          end_(reinterpret_cast<uint16_t*>(end)),
          queue_(queue_of_warp(tables)) {}

    template <typename RowIndex>
    Status encode(const RowIndex* rows, const int16_t* symbols, uint32_t count) {
        bool is_beyond = false, is_wrong = false;
        uint32_t row_ahead = 0;
        int32_t symbol_ahead = 0;
        fetch(rows, symbols, count, 0, row_ahead, symbol_ahead);
        for (uint32_t start = 0; start < count; start += kWarp) {
            const uint32_t number = row_ahead;
            const int32_t symbol = symbol_ahead;
            fetch(rows, symbols, count, start + kWarp, row_ahead, symbol_ahead);  // a round earlier than it is needed
            const bool is_here = start + thread_ < count, is_known = is_here && number < row_count_;
            is_beyond |= is_here && !is_known;
            const uint2 row = is_known ? table_.rows[number] : make_uint2(0, 0);
            const bool is_coded = is_known && EncodeTable::is_coded(row);
            is_wrong |= is_known && !is_coded && symbol != EncodeTable::offset(row);
            queue_.push(is_coded, EncodeTable::item(row, symbol));
            while (queue_.count() >= lanes_) round(lanes_);
        }
        if (queue_.count()) round(queue_.count());
        if (__any_sync(kAll, is_beyond)) return Status::row_range;
        return __any_sync(kAll, is_wrong) ? Status::certain_symbol : Status::ok;
    }

    int64_t size_bytes() const { return 1 + 4 * int64_t{lanes_} + 2 * int64_t{word_count_}; }

    // Coded symbol k of K is lane k mod N's, and thread t has had those with K - 1 - k = t mod N.
    void write_header(uint8_t* out) const {
        if (thread_ == 0) *out = static_cast<uint8_t>(__popc(lanes_ - 1));
        if (thread_ >= lanes_) return;
        uint8_t* place = out + 1 + 4 * ((coded_ - 1 - thread_) % lanes_);
        for (int byte = 0; byte < 4; ++byte) place[byte] = static_cast<uint8_t>(state_ >> 8 * byte);
    }

private:
    // Read for each thread, from the end backwards.
    template <typename RowIndex>
    void fetch(const RowIndex* rows, const int16_t* symbols, uint32_t count, uint32_t start, uint32_t& row,
               int32_t& symbol) const {
        if (start + thread_ >= count) return;
        row = rows[count - 1 - start - thread_];
        symbol = symbols[count - 1 - start - thread_];
    }

    // Encode one symbol in each of the first `active` threads, thread 0 first.
    void round(uint32_t active) {
        const bool is_active = thread_ < active;
        const uint2 item = queue_.pop(active);
        coded_ += active;
        if (__any_sync(kAll, is_active && item.y != kNoEscape)) return escape_round(is_active, item);
        HeldWord word;
        if (is_active) put_symbol(state_, word, table_.entries[item.x], table_.precision);
        const uint32_t due = __ballot_sync(kAll, word.is_due);
        if (kIsWriting && word.is_due)
            *(end_ - word_count_ - rank_in(due, thread_) - 1) = static_cast<uint16_t>(word.value);
        word_count_ += static_cast<uint32_t>(__popc(due));
    }

    // What a thread puts depends on no other, but where depends on how much those before it have put.
    void escape_round(bool is_active, uint2 item) {
        CountedWords counted;
        uint32_t state = state_;
        if (is_active) put(state, counted, item);
        const uint32_t sum = sum_up_to(thread_, counted.count);
        if (kIsWriting && is_active) {
            BackwardWords words{end_ - word_count_ - (sum - counted.count)};
            put(state_, words, item);
        }
        state_ = state;
        word_count_ += __shfl_sync(kAll, sum, kWarp - 1);
    }

    template <typename Words>
    void put(uint32_t& state, Words& words, uint2 item) const {
        if (item.y != kNoEscape) put_escape(state, words, item.y);
        put_symbol(state, words, table_.entries[item.x], table_.precision);
    }

    const EncodeTable table_;
    const uint32_t row_count_;
    const uint32_t lanes_;
    uint16_t* const end_;
    Queue queue_;
    const uint32_t thread_ = thread_of_warp();
    uint32_t state_ = kStateLow;
    uint32_t word_count_ = 0;
    uint32_t coded_ = 0;
};

template <typename RowIndex, bool kIsShared, bool kIsWriting>
void encode_sections(const EncodeArguments& arguments) {
    const uint32_t* words = place_tables<kIsShared>(arguments.tables);
    for (uint32_t section = 0; take_section(arguments.sections, section);) {
        const bool is_valid = section_is_valid(arguments.sections, section);
        if (kIsWriting && arguments.status[section] != static_cast<int32_t>(Status::ok)) continue;
        const int64_t begin = is_valid ? arguments.sections.starts[section] : 0;
        const int64_t end = is_valid ? arguments.sections.starts[section + 1] : 0;
        uint8_t* out = kIsWriting ? arguments.bytes + arguments.stream_starts[section] : nullptr;
        SectionEncoder<kIsWriting> encoder(arguments.tables, words, arguments.lanes,
                                           kIsWriting ? out + arguments.sizes[section] : nullptr);
        Status status = encoder.encode(static_cast<const RowIndex*>(arguments.rows) + begin, arguments.symbols + begin,
                                       static_cast<uint32_t>(end - begin));
        if (!is_valid) status = kSectionRange;
        if (kIsWriting) {
            encoder.write_header(out);
        } else if (thread_of_warp() == 0) {
            arguments.status[section] = static_cast<int32_t>(status);
            arguments.sizes[section] = status == Status::ok ? encoder.size_bytes() : 0;
        }
    }
}

}  // namespace rarefy
