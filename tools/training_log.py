"""What a training run writes while it runs: the CSV log, a line on the terminal, and the curve drawn from the log."""

import sys
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

from rarefy.codecs.unfinished import whole_file
from rarefy.errors import WeightsError

COLUMNS = ("step", "minutes", "megapixels", "learning_rate", "loss", "bits_per_pixel", "psnr", "gradient")


class Log:
    """The CSV log, the line on the terminal, and the curve drawn from the log.

    step: where the run goes on. Rows beyond it, of a process that was killed after its last state, are dropped.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self.path = folder / "log.csv"
        rows = [row for row in self._rows() if row["step"] <= step]
        with whole_file(self.path) as file:
            lines = [",".join(COLUMNS), *(",".join(_written(row)) for row in rows)]
            file.write(("\n".join(lines) + "\n").encode())

    def add(self, row: dict[str, float]) -> None:
        """Append a row and say it."""
        with self.path.open("a", newline="") as file:
            file.write(",".join(_written(row)) + "\n")
        speed = row["megapixels"] / max(row["minutes"], 1e-9) / 60
        say(
            "step {step:>7.0f}  {minutes:6.1f} min  {bits_per_pixel:.4f} bpp  {psnr:.2f} dB  "
            "loss {loss:.4f}  lr x {learning_rate:.2f}  {speed:.2f} Mpx/s".format(speed=speed, **row)
        )

    def _rows(self) -> list[dict[str, float]]:
        """The rows that are whole: a full disk may have cut one."""
        if not self.path.exists():
            return []
        rows = []
        for line in self.path.read_text().splitlines()[1:]:
            with suppress(ValueError):
                rows.append(dict(zip(COLUMNS, map(float, line.split(",")), strict=True)))
        return rows

    def plot(self) -> None:
        """Draw loss over minutes to curve.svg, where matplotlib is installed."""
        try:
            from matplotlib.figure import Figure
        except ImportError:
            say("rarefy: hint: install matplotlib to have the curve drawn")
            return
        rows = self._rows()
        figure = Figure(figsize=(7, 4), layout="constrained")
        axes = figure.subplots()
        axes.plot([r["minutes"] for r in rows], [r["loss"] for r in rows], linewidth=1)
        axes.set(xlabel="minutes", ylabel="loss", yscale="log")
        figure.savefig(self.path.with_name("curve.svg"))


def _written(row: dict[str, float]) -> list[str]:
    return [f"{row[column]:.0f}" if column == "step" else f"{row[column]:.6g}" for column in COLUMNS]


def say(words: str) -> None:
    """Write a line to stderr. A terminal that has gone away is no reason to lose a training."""
    with suppress(OSError):
        print(words, file=sys.stderr, flush=True)


class Window:
    """Means of loss, bits per pixel, log squared error and gradient since the last row of the log, kept on the device.

    A step without a finite loss is skipped by the trainer and left out here; if every step is, the weights are lost.
    """

    def __init__(self, device: torch.device) -> None:
        self.sums = torch.zeros(4, device=device)
        self.finite = torch.zeros((), device=device)
        self.count = 0

    def add(self, loss: Tensor, facts: Tensor, norm: Tensor) -> None:
        """Take in what `Trainer.train_step` gave."""
        values = torch.stack([loss, *facts, norm])
        finite = torch.isfinite(values).all()
        self.sums += torch.where(finite, values, 0.0)
        self.finite += finite
        self.count += 1

    def check(self, step: int) -> None:
        """Raise WeightsError if no step of the window had a finite loss, before a lost state replaces a good one."""
        if self.count and not self.finite:
            raise WeightsError(f"step {step}: the loss is no longer finite; the last saved state is older and good")

    def mean(self, step: int) -> list[float]:
        """The means of the window, which begins anew."""
        self.check(step)
        mean: list[float] = (self.sums / self.finite).tolist()
        self.sums.zero_()
        self.finite.zero_()
        self.count = 0
        return mean
