"""Where networks run."""

from __future__ import annotations

import torch

from .._backend import BackendError, choose

# What `choose` says where nobody has named a device.
_FOUND = {"a CUDA device works here", "no CUDA device works here"}


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
    here = torch.cuda.is_available()
    if reason in _FOUND:  # by CuPy: PyTorch may have CUDA without it, and the other way round
        return torch.device("cuda" if here else "cpu")
    if backend.kind != "cuda":
        return torch.device("cpu")
    if not here:
        raise BackendError(f"{reason} says {backend}, and PyTorch finds no CUDA device")
    return torch.device("cuda", backend.device)
