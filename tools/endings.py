"""Signals that end programs, as exceptions, so that half-made files are removed on the way out."""

import signal

# What a shell, a batch system or a terminal that goes away ends programs with; SIGINT is Python's own KeyboardInterrupt
ENDINGS = {getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)}


class Terminated(BaseException):
    """One of `ENDINGS`."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = signal.Signals(number)


def ending(number: int) -> BaseException:
    """What a signal raises."""
    return KeyboardInterrupt() if number == signal.SIGINT else Terminated(number)
