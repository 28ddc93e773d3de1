// Decoding one section by one warp: rounds of one symbol for each lane of the stream, all lanes at once.
#pragma once

#include "warp.cuh"

namespace rarefy {

// An entry of a row as it was found.
struct Found {
    uint32_t start;
    uint32_t frequency;
    uint32_t number;  // in its row; the last one is the escape
    uint32_t value_count;
    int32_t offset;
};

// A row begins with its offset and its number of values; then come 2^bits buckets with the first and the last entry that
// reach into each, then the entries. `row` is the row's word in the index: where that is, bits, and whether it is coded.
struct DecodeTable {
    const uint32_t* words;
    int precision;

    static bool is_coded(uint32_t row) { return row & 1; }

    int16_t offset(uint32_t row) const { return static_cast<int16_t>(words[row >> 5] & 0xffff); }

    Found find(uint32_t row, uint32_t state) const {
        const uint32_t slot = state & ((1u << precision) - 1), bits = row >> 1 & 15;
        const uint32_t* block = words + (row >> 5);
        const uint32_t bucket = block[1 + (slot >> (static_cast<uint32_t>(precision) - bits))];
        const uint32_t* entries = block + 1 + (1u << bits);
        uint32_t low = bucket & 0xffff, high = bucket >> 16;
        while (low < high) {
            const uint32_t middle = (low + high + 1) / 2;
            if ((entries[middle] & 0xffff) <= slot) low = middle;
            else high = middle - 1;
        }
        const uint32_t entry = entries[low];
        return {entry & 0xffff, entry >> 16, low, block[0] >> 16, static_cast<int16_t>(block[0] & 0xffff)};
    }
};

class SectionDecoder {
public:
    SectionDecoder(const TableWords& tables, const uint32_t* words, const uint8_t* bytes, StreamState& stream)
        : table_{words, tables.precision},
          row_count_(tables.row_count),
          fewest_bits_(tables.fewest_bits),
          queue_(queue_of_warp(tables)),
          stream_(stream),
          words_(bytes + stream.first_word),
          word_count_(stream.word_count),
          next_word_(stream.next_word),
          lanes_(stream.lanes),
          status_(static_cast<Status>(stream.status)) {
        // The thread that is first takes the next symbol, so threads keep the order of symbols.
        lane_ = (stream.next_lane + thread_) % lanes_;
        if (thread_ < lanes_) state_ = stream.states[lane_];
    }

    template <typename RowIndex>
    void decode(const RowIndex* rows, uint32_t count, int16_t* symbols) {
        if (status_ != Status::ok) return;
        if (!can_hold(rows, count)) status_ = Status::too_many_symbols;
        bool is_beyond = false;
        uint32_t coded = 0;
        uint32_t ahead = thread_ < count ? rows[thread_] : 0;
        for (uint32_t start = 0; start < count; start += kWarp) {
            const uint32_t position = start + thread_, number = ahead;
            ahead = position + kWarp < count ? rows[position + kWarp] : 0;  // a round earlier than it is needed
            const bool is_here = position < count;
            is_beyond |= is_here && number >= row_count_;
            const uint32_t row = is_here && number < row_count_ ? table_.words[number] : 0;
            const bool is_coded = DecodeTable::is_coded(row);
            if (is_here && !is_coded) symbols[position] = table_.offset(row);
            queue_.push(is_coded, make_uint2(row, position));
            while (queue_.count() >= lanes_ && status_ == Status::ok) coded += round(lanes_, symbols);
            if (status_ != Status::ok) queue_.clear();
        }
        if (queue_.count()) coded += round(queue_.count(), symbols);
        if (__any_sync(kAll, is_beyond)) status_ = Status::row_range;
        close(coded);
    }

private:
    // As StreamDecoder::can_hold.
    template <typename RowIndex>
    bool can_hold(const RowIndex* rows, uint32_t count) const {
        const double words = word_count_ - next_word_;
        const double most = 1.01 * (17.0 * words + 16.0 * lanes_) / fewest_bits_;
        if (count <= most) return true;
        uint64_t coded = 0;
        for (uint32_t start = 0; start < count; start += kWarp) {
            const uint32_t number = start + thread_ < count ? rows[start + thread_] : row_count_;
            const bool is_coded = number < row_count_ && DecodeTable::is_coded(table_.words[number]);
            coded += static_cast<uint32_t>(__popc(__ballot_sync(kAll, is_coded)));
        }
        return static_cast<double>(coded) <= most;
    }

    // Decode one symbol in each of the first `active` threads; returns their number.
    uint32_t round(uint32_t active, int16_t* symbols) {
        const bool is_active = thread_ < active;
        const uint2 item = queue_.pop(active);
        Found found{};
        int16_t symbol = 0;
        if (is_active) {
            found = table_.find(item.x, state_);
            state_ = without_entry(state_, found.frequency, found.start, table_.precision);
            symbol = static_cast<int16_t>(found.offset + static_cast<int32_t>(found.number));
        }
        const uint32_t escapes = __ballot_sync(kAll, is_active && found.number == found.value_count);
        status_ = escapes ? refill_and_escape(is_active, escapes, found, symbol) : refill_threads(is_active);
        if (is_active && status_ == Status::ok) symbols[item.y] = symbol;
        return active;
    }

    // Every thread that needs a word takes one, in the order of threads.
    Status refill_threads(bool is_asked) {
        const bool is_due = is_asked && needs_word(state_);
        const uint32_t due = __ballot_sync(kAll, is_due);
        const auto taken = static_cast<uint32_t>(__popc(due));
        if (taken > word_count_ - next_word_) return Status::truncated;
        if (is_due) state_ = with_word(state_, word(next_word_ + rank_in(due, thread_)));
        next_word_ += taken;
        return Status::ok;
    }

    // The words of an escape come before those of the threads behind it: from one escape to the next.
    Status refill_and_escape(bool is_active, uint32_t escapes, const Found& found, int16_t& symbol) {
        for (uint32_t begin = 0; begin < kWarp;) {
            const uint32_t escape = escapes ? static_cast<uint32_t>(__ffs(static_cast<int>(escapes))) - 1 : kWarp;
            const Status refilled = refill_threads(is_active && begin <= thread_ && thread_ <= escape);
            if (refilled != Status::ok) return refilled;
            if (escape < kWarp) {
                auto status = static_cast<int>(Status::ok);
                if (thread_ == escape) status = static_cast<int>(take_escape(found, symbol));
                status = __shfl_sync(kAll, status, static_cast<int>(escape));
                next_word_ = __shfl_sync(kAll, next_word_, static_cast<int>(escape));
                if (status != static_cast<int>(Status::ok)) return static_cast<Status>(status);
            }
            escapes &= escapes - 1;
            begin = escape + 1;
        }
        return Status::ok;
    }

    Status take_escape(const Found& found, int16_t& symbol) {
        WordReader words;
        words.next = words_ + 2 * uint64_t{next_word_};
        words.end = words_ + 2 * uint64_t{word_count_};
        uint32_t folded = 0;
        const Status status = get_escape(state_, words, folded);
        next_word_ = static_cast<uint32_t>((words.next - words_) / 2);
        if (status != Status::ok) return status;
        return unfold(folded, found.offset, found.value_count, symbol) ? Status::ok : Status::escape_range;
    }

    // Streams of files begin anywhere; only at even addresses may a word be read as one.
    uint32_t word(uint32_t number) const {
        const uint8_t* at = words_ + 2 * uint64_t{number};
        if (reinterpret_cast<uint64_t>(words_) % 2 == 0) return *reinterpret_cast<const uint16_t*>(at);
        return static_cast<uint32_t>(at[0]) | static_cast<uint32_t>(at[1]) << 8;
    }

    void close(uint32_t coded) {
        __syncwarp();
        if (thread_ < lanes_) stream_.states[lane_] = state_;
        if (thread_ != 0) return;
        stream_.next_word = next_word_;
        stream_.next_lane = (stream_.next_lane + coded) % lanes_;
        stream_.status = static_cast<int32_t>(status_);
    }

    const DecodeTable table_;
    const uint32_t row_count_;
    const double fewest_bits_;
    Queue queue_;
    StreamState& stream_;
    const uint8_t* const words_;
    const uint32_t word_count_;
    uint32_t next_word_;
    const uint32_t lanes_;
    const uint32_t thread_ = thread_of_warp();
    uint32_t lane_ = 0;
    uint32_t state_ = kStateLow;
    Status status_;
};

template <typename RowIndex, bool kIsShared>
void decode_sections(const DecodeArguments& arguments) {
    const uint32_t* words = place_tables<kIsShared>(arguments.tables);
    for (uint32_t section = 0; take_section(arguments.sections, section);) {
        StreamState& stream = arguments.streams[section];
        if (!section_is_valid(arguments.sections, section)) {
            __syncwarp();  // all have read the status before it is written
            if (thread_of_warp() == 0 && stream.status == 0) stream.status = static_cast<int32_t>(kSectionRange);
            continue;
        }
        const int64_t begin = arguments.sections.starts[section], end = arguments.sections.starts[section + 1];
        SectionDecoder decoder(arguments.tables, words, arguments.bytes, stream);
        decoder.decode(static_cast<const RowIndex*>(arguments.rows) + begin, static_cast<uint32_t>(end - begin),
                       arguments.symbols + begin);
    }
}

// Read the header of one stream, a thread a lane.
inline Status open_stream(const uint8_t* data, int64_t size, StreamState& stream) {
    const uint32_t thread = thread_of_warp();
    if (size < 1) return Status::truncated;
    if (data[0] > kLongestLanesCode) return Status::lanes_reserved;
    const uint32_t lanes = 1u << data[0];
    const int64_t header = 1 + 4 * int64_t{lanes};
    if (size < header || (size - header) % 2 != 0) return Status::truncated;
    if ((size - header) / 2 > int64_t{kAll}) return kSectionRange;
    uint32_t state = kStateLow;
    if (thread < lanes) {
        const uint8_t* bytes = data + 1 + 4 * int64_t{thread};
        state = static_cast<uint32_t>(bytes[0]) | static_cast<uint32_t>(bytes[1]) << 8 |
                static_cast<uint32_t>(bytes[2]) << 16 | static_cast<uint32_t>(bytes[3]) << 24;
    }
    if (__any_sync(kAll, needs_word(state))) return Status::state_range;
    stream.states[thread] = state;
    if (thread == 0) {
        stream.first_word += header;
        stream.word_count = static_cast<uint32_t>((size - header) / 2);
        stream.lanes = lanes;
    }
    return Status::ok;
}

inline void open_streams(const OpenArguments& arguments) {
    const uint32_t stride = gridDim.x * blockDim.x / kWarp;
    for (uint32_t i = (blockIdx.x * blockDim.x + threadIdx.x) / kWarp; i < arguments.count; i += stride) {
        const int64_t start = arguments.starts[i], size = arguments.sizes[i];
        StreamState& stream = arguments.streams[i];
        const bool is_inside =
            0 <= start && start <= arguments.byte_count && 0 <= size && size <= arguments.byte_count - start;
        if (thread_of_warp() == 0) {
            stream.first_word = is_inside ? start : 0;
            stream.word_count = stream.next_word = stream.next_lane = stream.unused = 0;
            stream.lanes = 1;
        }
        __syncwarp();
        const Status status = is_inside ? open_stream(arguments.bytes + start, size, stream) : kSectionRange;
        if (thread_of_warp() == 0) stream.status = static_cast<int32_t>(status);
    }
}

// As StreamDecoder::finish, a warp a stream.
inline void finish_streams(const FinishArguments& arguments) {
    const uint32_t stride = gridDim.x * blockDim.x / kWarp, thread = thread_of_warp();
    for (uint32_t i = (blockIdx.x * blockDim.x + threadIdx.x) / kWarp; i < arguments.count; i += stride) {
        StreamState& stream = arguments.streams[i];
        const bool is_ok = stream.status == static_cast<int32_t>(Status::ok);
        const bool is_off = is_ok && thread < stream.lanes && stream.states[thread] != kStateLow;
        const bool is_at_start = !__any_sync(kAll, is_off);
        if (!is_ok || thread != 0) continue;
        if (stream.next_word != stream.word_count) stream.status = static_cast<int32_t>(Status::words_left);
        else if (!is_at_start) stream.status = static_cast<int32_t>(Status::state_end);
    }
}

}  // namespace rarefy
