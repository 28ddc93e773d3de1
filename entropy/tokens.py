"""What token codecs call: indices of a quantizer to bytes and back, under a model that follows the stream.

The compiled coder works where it was built, its Python twin elsewhere; their bytes are the same (docs/TOKENS.md).
"""

from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rarefy import kernels
from rarefy.entropy import rans, token_stream
from rarefy.entropy.token_model import TokenModel
from rarefy.errors import OptionError

Tokens = NDArray[np.uint16]

_IS_BUILT = find_spec("rarefy.kernels._tokens") is not None


def encode(tokens: NDArray[Any], model: TokenModel, grid_width: int = 0) -> bytes:
    """Encode tokens into one stream; none take no bytes.

    tokens: integers [n] below the model's alphabet; a grid row by row. grid_width: the tokens of a row of the grid, 0
    for a sequence, where nothing is above. Raises OptionError for tokens that the model does not have.
    """
    row = _as_tokens(tokens, model)
    width = _checked_width(grid_width)
    if len(row) == 0:
        return b""
    if not _is_compiled():
        return token_stream.encode(row, model, width)
    from rarefy.kernels import _tokens

    return _tokens.encode(model.pack(), row, width)


def decode(data: bytes | bytearray | memoryview, count: int, model: TokenModel, grid_width: int = 0) -> Tokens:
    """Decode a stream: uint16 [count], all below the model's alphabet.

    count, grid_width: as encoded; they are not in the stream, so check them against limits first. Raises
    TruncatedError, FormatError for bytes that no encoder writes, and ChecksumError for an altered stream. Altered
    streams may also decode to other tokens: keep a checksum of them (a container has one for each unit).
    """
    stream, width = bytes(data), _checked_width(grid_width)
    if count < 0:
        raise OptionError(f"{count} tokens cannot be decoded")
    if count == 0:
        if stream:
            raise rans.fault(rans.WORDS_LEFT)
        return np.zeros(0, np.uint16)
    if count > most_tokens(len(stream), model):
        raise rans.fault(rans.TOO_MANY_SYMBOLS)
    if not _is_compiled():
        return token_stream.decode(stream, count, model, width)
    return _decode_compiled(stream, count, model, width)


def most_tokens(size_bytes: int, model: TokenModel) -> int:
    """Bound the tokens that a stream can hold, from its size alone: what to check before memory is asked for.

    A word adds at most 17 bits to the state, which holds 16 more at the start than at the end; one token lies there.
    """
    bits = 17 * (size_bytes // 2) + 16  # the words are fewer than size_bytes // 2
    return 1 + int(1.01 * bits / model.fewest_bits)  # a hundredth for the rounding in fewest_bits


def _decode_compiled(stream: bytes, count: int, model: TokenModel, grid_width: int) -> Tokens:
    from rarefy.kernels import _tokens

    tokens = np.empty(count, np.uint16)
    status = _tokens.decode(model.pack(), np.frombuffer(stream, np.uint8), tokens, grid_width)
    if status:
        raise rans.fault(status)
    return tokens


def _is_compiled() -> bool:
    return kernels.available() and _IS_BUILT


def _checked_width(grid_width: int) -> int:
    if not 0 <= grid_width < 1 << 32:
        raise OptionError(f"a grid of {grid_width} tokens in a row")
    return int(grid_width)


def _as_tokens(tokens: NDArray[Any], model: TokenModel) -> Tokens:
    """Give one row of tokens, contiguous, each within the alphabet; copies only where it must."""
    array = np.asarray(tokens)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise OptionError(f"tokens must be one row of integers, not {array.dtype} {list(array.shape)}")
    if len(array) and not 0 <= array.min() <= array.max() < model.alphabet:
        raise OptionError(f"tokens of {array.min()} to {array.max()}; the model has {model.alphabet}, from 0 on")
    return np.ascontiguousarray(array, np.uint16)
