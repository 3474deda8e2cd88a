"""What each served function costs by either way on the CPU: the table of `gpuseg/accel/_costs.py`.

``python benchmarks/accel_costs.py`` measures for about two minutes and prints its lines. Both ways
are timed in turn at two sizes and for several types of images; the line of a function is that of
the type for which ours gains least.
"""

import sys
import time
import warnings
from importlib import import_module
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from accel_cases import arguments, image

import gpuseg
from gpuseg.accel._table import table

SIZES = ((128, 128), (768, 768))
DTYPES = (bool, np.uint8, np.float32, np.float64)


def fastest(calls, rounds: int) -> list[float]:
    """Seconds of each call at its fastest, in turn."""
    best = [float("inf")] * len(calls)
    for _ in range(rounds):
        for i, call in enumerate(calls):
            start = time.perf_counter()
            call()
            best[i] = min(best[i], time.perf_counter() - start)
        if sum(best) > 1:
            break
    return best


def line(seconds, sizes) -> tuple[float, float]:
    """Seconds of a call on nothing, and nanoseconds a value, of two times."""
    slope = max(0.0, (seconds[1] - seconds[0]) / (sizes[1] - sizes[0]))
    return max(0.0, seconds[0] - slope * sizes[0]), slope * 1e9


def measured(path: str, form, original):
    """(nanoseconds a value of the original, of ours, microseconds that ours costs more)."""
    worst = None
    for dtype in DTYPES:
        times, sizes = [], []
        for shape in SIZES:
            args = arguments(path, image(shape, dtype))
            if args is None:
                break
            try:
                original(*args), form(*args)
            except Exception:
                break  # a type that is not served
            times.append(fastest([lambda: original(*args), lambda: form(*args)], 15))
            sizes.append(np.prod(shape))
        if len(times) < 2:
            continue
        (fixed, theirs), (our_fixed, ours) = (line(t, sizes) for t in zip(*times))
        found = round(float(theirs), 2), round(float(ours), 2), round((our_fixed - fixed) * 1e6)
        if worst is None or theirs / max(ours, 0.01) < worst[0] / max(worst[1], 0.01):
            worst = found
    return worst


def main() -> None:
    warnings.simplefilter("ignore")
    gpuseg.set_device("cpu")
    chosen = sys.argv[1:]
    for path, form in table().items():
        package, _, name = path.rpartition(".")
        if chosen and not any(part in path for part in chosen):
            continue
        found = measured(path, form, getattr(import_module(package), name))
        if found is not None and found[1] < 0.8 * found[0]:
            print(f'    "{path}": Cost{found},', flush=True)


if __name__ == "__main__":
    main()
