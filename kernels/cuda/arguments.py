"""What the kernels are given, as in `arguments.cuh`: structures of the same layout, with addresses on the device."""

from ctypes import Structure, c_double, c_int32, c_int64, c_uint32, c_uint64

MOST_SYMBOLS = 1 << 27  # a section has fewer
MOST_THREADS = 512  # of a block
WARP = 32
QUEUE_BYTES = 2 * WARP * 8  # shared memory of each warp
LANES = 32

ADDRESS = c_uint64


class TableWords(Structure):
    """Tables as one array of uint32 words (`rarefy.entropy.cuda_tables`); word_count is a multiple of 4."""

    _fields_ = (
        ("words", ADDRESS),
        ("word_count", c_uint32),
        ("row_count", c_uint32),
        ("precision", c_int32),
        ("is_shared", c_uint32),
        ("fewest_bits", c_double),
    )


class StreamState(Structure):
    """A stream between two bursts."""

    _fields_ = (
        ("states", c_uint32 * LANES),
        ("first_word", c_int64),
        ("word_count", c_uint32),
        ("next_word", c_uint32),
        ("lanes", c_uint32),
        ("next_lane", c_uint32),
        ("status", c_int32),
        ("unused", c_uint32),
    )


class Sections(Structure):
    """Where sections of symbols begin and end: starts int64 [count + 1]; next is one uint32, 0 before a launch."""

    _fields_ = (
        ("starts", ADDRESS),
        ("symbol_count", c_int64),
        ("count", c_uint32),
        ("unused", c_uint32),
        ("next", ADDRESS),
    )


class OpenArguments(Structure):
    """For `open_streams`: reads headers into stream states."""

    _fields_ = (
        ("bytes", ADDRESS),
        ("starts", ADDRESS),
        ("sizes", ADDRESS),
        ("byte_count", c_int64),
        ("streams", ADDRESS),
        ("count", c_uint32),
        ("unused", c_uint32),
    )


class FinishArguments(Structure):
    """For `finish_streams`: checks that streams end as they were begun."""

    _fields_ = (("streams", ADDRESS), ("count", c_uint32), ("unused", c_uint32))


class DecodeArguments(Structure):
    """For `decode_*`: one burst of every stream."""

    _fields_ = (
        ("tables", TableWords),
        ("sections", Sections),
        ("bytes", ADDRESS),
        ("streams", ADDRESS),
        ("rows", ADDRESS),
        ("symbols", ADDRESS),
    )


class EncodeArguments(Structure):
    """For `measure_*`, which writes sizes and status, and `encode_*`, which reads them and writes bytes."""

    _fields_ = (
        ("tables", TableWords),
        ("sections", Sections),
        ("rows", ADDRESS),
        ("symbols", ADDRESS),
        ("sizes", ADDRESS),
        ("status", ADDRESS),
        ("bytes", ADDRESS),
        ("stream_starts", ADDRESS),
        ("lanes", c_uint32),
        ("unused", c_uint32),
    )
