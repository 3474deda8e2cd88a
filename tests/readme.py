"""Makes the table of functions in README.md from the code: `python tests/readme.py` rewrites it."""

import importlib
import inspect
from pathlib import Path

from gpuseg._backend import find

README = Path(__file__).parents[1] / "README.md"
MODULES = ("filters", "morphology", "measure", "metrics", "segmentation")
START, END = "<!-- functions: made by tests/readme.py -->\n", "<!-- end of functions -->"


def table() -> str:
    lines = ["| function | CPU | GPU | same answer |", "|---|---|---|---|"]
    for module in MODULES:
        namespace = importlib.import_module(f"gpuseg.{module}")
        for name in namespace.__all__:
            function = getattr(namespace, name)
            if inspect.isfunction(function):
                cpu, gpu = forms(function)
                rule = f"{function.contract}{'; ' * bool(function.contract_note)}"
                rule += function.contract_note
                lines.append(f"| `{module}.{name}` | {cpu} | {gpu} | {rule} |")
    return "\n".join(lines) + "\n"


def forms(function) -> tuple[str, str]:
    """What runs a function on each side, read off the names that its form uses."""
    if function.via is not function:
        through = f"through `{function.via.__name__}`"
        return through, through if forms(function.via)[1] != "—" else "—"
    if "run(" not in inspect.getsource(function):
        return "calls the functions below it", "calls the functions below it"
    cpu, _ = find(function, "cpu")
    gpu, layer = find(function, "sim")
    return _library(cpu, "cpu"), _library(gpu, "gpu") if layer == "_cuda" else "—"


LIBRARIES = (
    ("skimage", {"cpu": "scikit-image", "gpu": "cuCIM"}),
    ("ndimage", {"cpu": "SciPy", "gpu": "CuPy"}),
    ("ndi", {"cpu": "SciPy", "gpu": "CuPy"}),
)


def _library(form, side: str) -> str:
    used = _names(form, set())
    if any(".kernels." in getattr(thing, "__module__", "") + "." for thing in used.values()):
        return "own kernel"
    for name, called in LIBRARIES:
        modules = [getattr(thing, "__name__", "") for thing in used.values()]
        if name in used or any(text.startswith(name) for text in modules if inspect.ismodule(text)):
            return called[side]
    return {"cpu": "NumPy", "gpu": "CuPy"}[side]


def _names(function, seen: set) -> dict:
    """Every global that a function uses, through the helpers of its own file."""
    used = {}
    for name in function.__code__.co_names:
        thing = function.__globals__.get(name)
        if thing is None or name in seen:
            used.setdefault(name, thing)
            continue
        seen.add(name)
        used[name] = thing
        if inspect.isfunction(thing) and thing.__module__.startswith("gpuseg._c"):
            used |= _names(thing, seen)
    return used


def updated() -> str:
    text = README.read_text()
    before, rest = text.split(START)
    _, after = rest.split(END)
    return before + START + table() + END + after


if __name__ == "__main__":
    README.write_text(updated())
