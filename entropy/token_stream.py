"""Token streams in plain Python: this defines them (docs/TOKENS.md) and is the oracle of the compiled coder.

Each step blends two rows of frequencies: the shipped one, and one of counts that follow the stream; how far either is
believed follows from which of them expected the tokens so far better. The state's arithmetic is that of `rans`.
"""

from collections.abc import Callable
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from rarefy.entropy import rans
from rarefy.entropy.token_contexts import context_ids
from rarefy.entropy.token_model import PRECISION, TOTAL, TokenModel

# Keep in step with kernels/tokens.h.
UNIT = 32  # what one token adds to a count
LIMIT = 4096 * UNIT  # counts are halved beyond this sum
WAIT_SHIFT = 10  # a row is computed anew after a 32nd of the tokens in its counts
RECIPROCAL_BITS = 18
SHARE_BITS = 15
SHARE_RATE = 3
LEAST_SHARE, MOST_SHARE = 128, (1 << SHARE_BITS) - 128

Choose = Callable[[list[int], int], int]  # from a row and the step (0: group, 1: member) to an entry
Use = Callable[[rans.Piece], object]


def encode(tokens: NDArray[np.uint16], model: TokenModel, grid_width: int) -> bytes:
    """Encode at least one token; `rarefy.entropy.tokens.encode` checks the types first."""
    predictor = _Predictor(model)
    contexts = context_ids(tokens, model.classes, model.contexts, grid_width)
    pieces: list[rans.Piece] = []
    for token, context in zip(tokens[:-1].tolist(), contexts[:-1].tolist(), strict=True):
        predictor.token(context, _chooser(token, model), pieces.append)
    state = rans.STATE_LOW + int(tokens[-1])
    words: list[int] = []
    for piece in reversed(pieces):
        state = rans.put(state, piece, words)
    return state.to_bytes(3 if state < 1 << 24 else 4, "little") + np.array(words[::-1], "<u2").tobytes()


def decode(data: bytes, count: int, model: TokenModel, grid_width: int) -> NDArray[np.uint16]:
    """Decode at least one token."""
    reader = _Reader(data)
    predictor = _Predictor(model)
    tokens = np.zeros(count, np.uint16)
    classes, contexts = [*model.classes.tolist(), model.outside], model.contexts.tolist()
    for position in range(count - 1):
        column = position % grid_width if grid_width else position
        left = classes[tokens[position - 1]] if column else model.outside
        above = classes[tokens[position - grid_width]] if grid_width and position >= grid_width else model.outside
        tokens[position] = predictor.token(contexts[left][above], reader.find, reader.take)
    tokens[-1] = reader.last_token(model.alphabet)
    return tokens


def _chooser(token: int, model: TokenModel) -> Choose:
    """Give the entries of a known token: its group in the first step, its place there in the second."""
    entries = (token >> model.member_bits, token & ((1 << model.member_bits) - 1))
    return lambda row, level: entries[level]


class _Node:
    """The rows of one node of one context, shipped and adapted."""

    def __init__(self, size: int, shipped: list[int], counts: list[int]) -> None:
        self.shipped = shipped[: size + 1]
        self._counts = counts[:size]
        self._compute_row()

    def blended(self, share: int) -> list[int]:
        """Give the row to code with: `share` of 2**15 parts of the shipped one, the rest of the adapted one."""
        pairs = zip(self.shipped, self._row, strict=True)
        return [adapted + ((shipped - adapted) * share >> SHARE_BITS) for shipped, adapted in pairs]

    def add(self, entry: int) -> None:
        """Count an entry."""
        self._counts[entry] += UNIT
        self._wait -= 1
        if self._wait == 0:
            if sum(self._counts) > LIMIT:
                self._counts = [(count + 1) >> 1 for count in self._counts]
            self._compute_row()

    def _compute_row(self) -> None:
        size, total = len(self._counts), sum(self._counts)
        reciprocal = (TOTAL - size << RECIPROCAL_BITS) // total
        below = accumulate(self._counts[:-1], initial=0)
        self._row = [entry + (count * reciprocal >> RECIPROCAL_BITS) for entry, count in enumerate(below)] + [TOTAL]
        self._wait = max(total >> WAIT_SHIFT, 1)


class _Predictor:
    """All nodes of a stream, made at their first token, and how far the shipped rows are believed in either step."""

    def __init__(self, model: TokenModel) -> None:
        self._model = model
        self._nodes: dict[int, _Node] = {}
        self._shares = [1 << SHARE_BITS - 1, 1 << SHARE_BITS - 1]

    def token(self, context: int, choose: Choose, use: Use) -> int:
        """Step through a token: `choose` names an entry of a row, `use` gets its piece of the state's range."""
        first = context * (self._model.groups + 1)
        group = self._entry(first, 0, choose, use) if self._model.groups > 1 else 0
        return group << self._model.member_bits | self._entry(first + 1 + group, 1, choose, use)

    def _entry(self, number: int, level: int, choose: Choose, use: Use) -> int:
        node = self._node(number)
        row = node.blended(self._shares[level])
        entry = choose(row, level)
        frequency = row[entry + 1] - row[entry]
        use(rans.Piece(row[entry], frequency, PRECISION))
        self._learn(level, node.shipped[entry + 1] - node.shipped[entry], frequency)
        node.add(entry)
        return entry

    def _node(self, number: int) -> _Node:
        if number not in self._nodes:
            size = int(self._model.sizes[number % (self._model.groups + 1)])
            shipped, counts = self._model.rows[number].tolist(), self._model.counts[number].tolist()
            self._nodes[number] = _Node(size, shipped, counts)
        return self._nodes[number]

    def _learn(self, level: int, shipped_frequency: int, frequency: int) -> None:
        share = self._shares[level]
        earned = min(share * shipped_frequency // frequency, 1 << SHARE_BITS)
        self._shares[level] = min(max(share + (earned - share >> SHARE_RATE), LEAST_SHARE), MOST_SHARE)


class _Reader:
    """The state of a stream that is decoded, and its words."""

    def __init__(self, data: bytes) -> None:
        state_size = 3 if len(data) % 2 else 4
        if len(data) < state_size:
            raise rans.fault(rans.TRUNCATED)
        if data[state_size - 1] == 0:
            raise rans.fault(rans.STATE_RANGE)
        self._state = int.from_bytes(data[:state_size], "little")
        self._words = np.frombuffer(data, "<u2", offset=state_size).tolist()
        self._next_word = 0

    def find(self, row: list[int], level: int) -> int:
        """Find the entry of a row that the state points at."""
        slot = self._state & (TOTAL - 1)
        return sum(end <= slot for end in row[1:])

    def take(self, piece: rans.Piece) -> None:
        """Take a piece from the state, and a word if that leaves too little."""
        slot = self._state & (TOTAL - 1)
        self._state = piece.frequency * (self._state >> PRECISION) + slot - piece.start
        if self._state < rans.STATE_LOW:
            if self._next_word == len(self._words):
                raise rans.fault(rans.TRUNCATED)
            self._state = self._state << rans.WORD_BITS | self._words[self._next_word]
            self._next_word += 1

    def last_token(self, alphabet: int) -> int:
        """Check that the stream ends here, and give the token that its last state holds."""
        if self._next_word < len(self._words):
            raise rans.fault(rans.WORDS_LEFT)
        token = self._state - rans.STATE_LOW
        if token >= alphabet:
            raise rans.fault(rans.STATE_END)
        return token
