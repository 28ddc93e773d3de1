"""What is known of a quantizer's indices before a stream begins: shipped counts, and what its neighbours say.

A token is coded in two steps, its group (the upper half of its bits) and its place within the group, so that rows stay
short for 65,536 tokens too. All is integers, computed from bytes: `docs/TOKENS.md` has the rules. Floats occur only in
`from_counts`, where models are made.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from rarefy.entropy.token_contexts import Classes, Contexts, one_context
from rarefy.errors import OptionError, WeightsError

if TYPE_CHECKING:
    from rarefy.kernels import _tokens

PRECISION = 14
TOTAL = 1 << PRECISION
MAX_ALPHABET = 65536
MAX_COUNTS = 1 << 22  # contexts times alphabet: 45 MB of rows and counts
MAX_CLASSES = 255
ONE_STEP_BITS = 6  # alphabets of up to 64 are one group; measured: docs/TOKENS.md, "Choices"
STEPS_PER_OCTAVE = 16
OCTAVE = np.array([256, 267, 279, 292, 304, 318, 332, 347, 362, 378, 395, 412, 431, 450, 470, 490], np.int64)

Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class TokenModel:
    """Hold shipped counts of tokens by context, validated and read-only; safe to share between threads, and to pickle.

    log_counts: uint8 [Q, K], how often each of K tokens (2 to 65,536) is expected in each of Q contexts, in sixteenths
    of an octave: 16 more is twice as often. Only differences within a context count. Q * K is at most 2**22.
    classes: uint8 [K], the class of each token, below A; what a token shows of itself to its neighbours.
    contexts: uint16 [A + 1, A + 1], the context by the classes of the left (or previous) token and of the one above; A
    stands for a neighbour outside of the stream. A is 1 to 255.

    Raises WeightsError if the arrays break a rule.
    """

    log_counts: NDArray[np.uint8]
    classes: Classes
    contexts: Contexts

    def __post_init__(self) -> None:
        for name, dtype, axes in (("log_counts", np.uint8, 2), ("classes", np.uint8, 1), ("contexts", np.uint16, 2)):
            object.__setattr__(self, name, _frozen(name, getattr(self, name), dtype, axes))
        self._validate()

    def __reduce__(self) -> tuple[type["TokenModel"], tuple[Any, ...]]:
        return TokenModel, (self.log_counts, self.classes, self.contexts)

    @classmethod
    def flat(cls, alphabet: int) -> Self:
        """Make a model that expects every token alike, whatever its neighbours. Raises WeightsError as the class."""
        return cls(np.zeros((1, alphabet), np.uint8), *one_context(alphabet))

    @classmethod
    def from_counts(
        cls,
        counts: NDArray[Any],
        classes: NDArray[Any] | None = None,
        contexts: NDArray[Any] | None = None,
        smoothing: float | None = None,
    ) -> Self:
        """Make a model of how often tokens occurred, as `count_tokens` gives it.

        counts: not negative, [Q, K], or [K] for a single context. classes, contexts: as of the class; none for a single
        context. smoothing: how many tokens of the average over all contexts are added to each of them, half the
        alphabet if not given. Raises OptionError for counts that are negative or not finite, WeightsError as the class.
        """
        table = np.atleast_2d(np.asarray(counts, np.float64))
        if table.ndim != 2 or table.size == 0 or not np.all(np.isfinite(table)) or np.any(table < 0):
            raise OptionError("counts of tokens must be finite, not negative, and one row for each context")
        if (classes is None) != (contexts is None):
            raise OptionError("classes and contexts of tokens come together")
        average = table.sum(axis=0) + 0.5
        added = table.shape[1] / 2 if smoothing is None else smoothing
        masses = table + added * average / average.sum()
        if not np.all(masses > 0):
            raise OptionError("without smoothing every count must be above zero")
        octaves = np.log2(np.maximum(masses / masses.max(axis=1, keepdims=True), 2.0**-17))  # beyond 16 all is one
        log_counts = np.clip(np.round(STEPS_PER_OCTAVE * octaves) + 255, 0, 255).astype(np.uint8)
        if classes is None or contexts is None:
            classes, contexts = one_context(table.shape[1])
        return cls(log_counts, classes, contexts)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Take the model that `to_arrays` gave. Raises WeightsError for missing, unknown or wrong arrays."""
        names = {"log_counts", "classes", "contexts"}
        if set(arrays) != names:
            raise WeightsError(f"a token model consists of the arrays {sorted(names)}, not {sorted(arrays)}")
        return cls(**{name: arrays[name] for name in names})

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Give the model as arrays for a weights file, under the names of the class."""
        return {"log_counts": self.log_counts, "classes": self.classes, "contexts": self.contexts}

    def _validate(self) -> None:
        contexts, alphabet = self.log_counts.shape
        if not 2 <= alphabet <= MAX_ALPHABET or not 1 <= contexts <= MAX_COUNTS // alphabet:
            raise WeightsError(
                f"a token model of {contexts} contexts and {alphabet} tokens; 2 to {MAX_ALPHABET} tokens"
            )
        if len(self.classes) != alphabet:
            raise WeightsError(f"a token model of {alphabet} tokens has classes for {len(self.classes)}")
        if self.contexts.shape[0] != self.contexts.shape[1] or not 1 <= self.outside <= MAX_CLASSES:
            raise WeightsError(f"the contexts of a token model are {list(self.contexts.shape)}, not [A + 1, A + 1]")
        if int(self.classes.max()) >= self.outside or int(self.contexts.max()) >= contexts:
            raise WeightsError("a token model names a class or a context that it does not have")

    @property
    def alphabet(self) -> int:
        """The number of tokens, K."""
        return int(self.log_counts.shape[1])

    @property
    def outside(self) -> int:
        """The number of classes, A, which is also the class of what lies outside of the stream."""
        return len(self.contexts) - 1

    @property
    def member_bits(self) -> int:
        """The lower bits of a token, which tell it from the others of its group."""
        bits = (self.alphabet - 1).bit_length()
        return bits if bits <= ONE_STEP_BITS else (bits + 1) // 2

    @property
    def groups(self) -> int:
        """The number of groups: the first tokens, as many as the member bits tell apart, are group 0, and so on."""
        return (self.alphabet - 1 >> self.member_bits) + 1

    @cached_property
    def sizes(self) -> Integers:
        """The entries of each node: int64 [groups + 1], first the node of the groups, then those of their members."""
        members = np.full(self.groups, 1 << self.member_bits)
        members[-1] = self.alphabet - (self.groups - 1 << self.member_bits)
        return np.array([self.groups, *members], np.int64)

    @cached_property
    def _masses(self) -> Integers:
        """Masses of entries by context and node: int64 [Q, groups + 1, 2**member_bits], zero beyond a node's size."""
        width = 1 << self.member_bits
        masses = OCTAVE[self.log_counts % STEPS_PER_OCTAVE] << (self.log_counts // STEPS_PER_OCTAVE).astype(np.int64)
        nodes = np.zeros((len(masses), self.groups + 1, width), np.int64)
        members = np.pad(masses, ((0, 0), (0, self.groups * width - self.alphabet)))
        nodes[:, 1:] = members.reshape(len(masses), self.groups, width)
        nodes[:, 0, : self.groups] = nodes[:, 1:].sum(axis=2)
        return nodes

    @cached_property
    def rows(self) -> NDArray[np.int16]:
        """The shipped rows: int16 [Q (groups + 1), 2**member_bits + 1], c(0) = 0 up to 2**14, then that again."""
        sums = self._masses.sum(axis=2, keepdims=True)
        below = np.concatenate([np.zeros_like(sums), np.cumsum(self._masses, axis=2)], axis=2)
        entry = np.arange(below.shape[2])
        sizes = self.sizes[:, None]
        rows = np.where(entry < sizes, entry + below * (TOTAL - sizes) // sums, TOTAL)
        return _read_only(rows.reshape(-1, rows.shape[2]).astype(np.int16))

    @cached_property
    def counts(self) -> NDArray[np.uint32]:
        """The counts that adaptation starts with: uint32 [Q (groups + 1), 2**member_bits], zero beyond a size."""
        sums = self._masses.sum(axis=2, keepdims=True)
        all_of_context = sums[:, :1]
        wanted = np.maximum(self.alphabet * sums // (8 * all_of_context), self.sizes[:, None])
        counts = np.maximum((2 * self._masses * wanted + sums) // (2 * sums), 1)
        counts *= np.arange(counts.shape[2]) < self.sizes[:, None]
        return _read_only(counts.reshape(-1, counts.shape[2]).astype(np.uint32))

    @cached_property
    def fewest_bits(self) -> float:
        """Give the bits that any token takes from the stream at the very least (docs/CODER.md, section 7)."""
        others = (int(self.sizes[0 if self.groups > 1 else 1]) - 1) / TOTAL
        quotient = 2.0 ** (16 - PRECISION)
        return float(-np.log2(1 - others * quotient / (quotient + 1)))

    @cached_property
    def _packed(self) -> "_tokens.Model":
        from rarefy.kernels import _tokens  # only where it was built

        return _tokens.Model(
            self.alphabet,
            self.member_bits,
            self.groups,
            self.classes,
            self.contexts.ravel(),
            self.rows.ravel(),
            self.counts.ravel(),
        )

    def pack(self) -> "_tokens.Model":
        """Give the compiled coder's form of the model, built at first use (twice at worst, if threads race)."""
        return self._packed


def _frozen(name: str, values: Any, dtype: type[np.generic], axes: int) -> NDArray[Any]:
    """Copy an array as read-only integers of one type, if they fit it."""
    array = np.asarray(values)
    if array.ndim != axes or array.dtype.kind not in "iu" or array.size == 0:
        raise WeightsError(f"a token model's {name} are no integers with {axes} axes")
    copy = np.array(array, dtype, order="C")
    if not np.array_equal(copy, array):
        raise WeightsError(f"a token model's {name} do not fit {np.dtype(dtype).name}")
    return _read_only(copy)


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    array.setflags(write=False)
    return array
