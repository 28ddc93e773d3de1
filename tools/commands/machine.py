"""The machine's part in the work, for what the library itself does not ask it about."""


def use_threads(count: int | None) -> None:
    """Let torch use this many CPU threads from now on; None leaves its choice."""
    if count is not None:
        import torch

        torch.set_num_threads(count)
