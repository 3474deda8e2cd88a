"""Where networks run."""

from __future__ import annotations

import torch

from .._backend import choose


def torch_device(device=None) -> torch.device:
    """The device of a name; without one, what gpuseg was told, else CUDA where PyTorch has it."""
    if device is not None:
        try:
            found = torch.device(device)
        except (RuntimeError, TypeError) as error:
            raise ValueError(f"device must be 'cpu', 'cuda' or 'cuda:N', got {device!r}") from error
        if found.type == "cuda" and not torch.cuda.is_available():
            raise ValueError(f"device {device!r} does not work here: PyTorch finds no CUDA device")
        return found
    backend, reason = choose(())
    if backend.kind == "cuda":
        return torch.device("cuda", backend.device)
    # gpuseg may find no CUDA because CuPy is missing: PyTorch needs none.
    by_itself = reason == "no CUDA device works here"
    return torch.device("cuda" if by_itself and torch.cuda.is_available() else "cpu")
