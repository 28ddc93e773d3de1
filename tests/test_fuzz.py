"""Every parser of untrusted bytes against thousands of altered inputs: an error of ours or a right result, soon."""

import warnings
from collections import Counter
from time import perf_counter

import pytest
from fuzz.targets import TARGETS, inputs, seeds_of

COUNT = 2000
SECONDS = 3.0  # that one input may cost, on a machine that does other things too
# Outcomes without which a target would test little: all inputs would fail at the same check.
NEEDED = {
    "container": {"File", "FormatError", "TruncatedError", "ChecksumError", "UnsupportedError", "LimitError"},
    "coder": {"symbols", "FormatError", "TruncatedError", "ChecksumError"},
    "tables": {"Tables", "WeightsError"},
    "weights": {"Codec", "WeightsError"},
    "pictures": {"Image", "MediaError"},
    "metadata": {"Image"},
    "codec": {"Image", "FormatError", "TruncatedError", "ChecksumError"},
    "sounds": {"Audio", "FormatError", "TruncatedError", "ChecksumError", "UnsupportedError"},
    "recordings": {"Audio", "MediaError"},
    "arguments": {"arguments", "exit 0", "exit 2"},
}


def outcome(name: str, data: bytes) -> str:
    """What became of an input; anything that is no error of ours is raised."""
    begin = perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, about the very damage that we made
        found = TARGETS[name].run(data)
    assert perf_counter() - begin < SECONDS, f"{len(data)} bytes: {data[:200].hex()}"
    return found


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_are_taken(name: str) -> None:
    """Mutations of what is refused anyway would find nothing."""
    taken = NEEDED[name] - {kind for kind in NEEDED[name] if kind.endswith("Error")}
    assert {outcome(name, seed) for seed in TARGETS[name].seeds()} <= taken


@pytest.mark.parametrize("name", TARGETS)
def test_altered_inputs_cost_an_error_or_are_taken(name: str) -> None:
    check(name, 1, COUNT // 4 if name in ("weights", "codec", "sounds") else COUNT)  # these build and run networks


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_many_altered_inputs(name: str) -> None:
    check(name, 2, 10 * COUNT)


def check(name: str, seed: int, count: int) -> None:
    """Run altered inputs; every outcome that is needed comes."""
    outcomes = Counter(outcome(name, data) for data in inputs(name, seed, count))
    assert NEEDED[name] <= set(outcomes), outcomes
    assert sum(outcomes.values()) == count


@pytest.mark.parametrize("name", TARGETS)
def test_inputs_worth_keeping(name: str) -> None:
    """What once went wrong, or reached code that nothing else does."""
    for data in seeds_of(name)[len(TARGETS[name].seeds()) :]:
        outcome(name, data)
