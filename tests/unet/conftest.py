"""One thread each: threads that wait for one another are slow where tests share the cores."""

import importlib.util

if importlib.util.find_spec("torch") is not None:
    import torch

    torch.set_num_threads(1)
