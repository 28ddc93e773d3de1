"""A bottleneck's integers as tensors of a weights file: a module's buffers under `exact.`, tables under `tables.`."""

import torch
from torch import Tensor, nn

from rarefy.entropy.tables import Tables

EXACT, TABLES = "exact.", "tables."


def named_integers(network: nn.Module, tables: Tables) -> dict[str, Tensor]:
    """The tensors to write."""
    exact = {EXACT + name: tensor for name, tensor in network.state_dict().items()}
    return exact | {TABLES + name: torch.from_numpy(array.copy()) for name, array in tables.to_arrays().items()}


def read_integers(network: nn.Module, tensors: dict[str, Tensor]) -> Tables:
    """Fill a module's buffers and give the tables; raises RuntimeError or WeightsError for tensors that do not fit."""

    def part(prefix: str) -> dict[str, Tensor]:
        return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}

    network.load_state_dict(part(EXACT))
    return Tables.from_arrays({name: tensor.numpy() for name, tensor in part(TABLES).items()})
