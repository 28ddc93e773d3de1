"""What a training run writes while it runs: the CSV log, a line on the terminal, and the curve drawn from the log."""

import csv
import sys
from pathlib import Path

import torch
from torch import Tensor

from rarefy.errors import WeightsError

COLUMNS = ("step", "minutes", "megapixels", "learning_rate", "loss", "bits_per_pixel", "psnr", "gradient")


class Log:
    """The CSV log, the line on the terminal, and the curve drawn from the log.

    step: where the run goes on. Rows beyond it, of a process that was killed after its last state, are dropped.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self.path = folder / "log.csv"
        lines = self.path.read_text().splitlines()[1:] if self.path.exists() else []
        kept = [line for line in lines if float(line.split(",")[0]) <= step]
        self.path.write_text("\n".join([",".join(COLUMNS), *kept]) + "\n")

    def add(self, row: dict[str, float]) -> None:
        """Append a row and say it."""
        with self.path.open("a", newline="") as file:
            csv.writer(file).writerow(f"{row[c]:.6g}" for c in COLUMNS)
        speed = row["megapixels"] / max(row["minutes"], 1e-9) / 60
        print(
            "step {step:>7.0f}  {minutes:6.1f} min  {bits_per_pixel:.4f} bpp  {psnr:.2f} dB  "
            "loss {loss:.4f}  lr x {learning_rate:.2f}  {speed:.2f} Mpx/s".format(speed=speed, **row),
            file=sys.stderr,
            flush=True,
        )

    def plot(self) -> None:
        """Draw loss over minutes to curve.svg, where matplotlib is installed."""
        try:
            from matplotlib.figure import Figure
        except ImportError:
            print("rarefy: hint: install matplotlib to have the curve drawn", file=sys.stderr)
            return
        with self.path.open() as file:
            rows = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
        figure = Figure(figsize=(7, 4), layout="constrained")
        axes = figure.subplots()
        axes.plot([r["minutes"] for r in rows], [r["loss"] for r in rows], linewidth=1)
        axes.set(xlabel="minutes", ylabel="loss", yscale="log")
        figure.savefig(self.path.with_name("curve.svg"))


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
