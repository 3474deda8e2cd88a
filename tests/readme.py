"""Makes the table of functions in README.md from the code, and runs its code blocks.

`python tests/readme.py` rewrites the table; `python tests/readme.py run` runs the blocks, in order
and in an empty folder, whose extras are installed. A block says what it needs in a comment before
it, ``<!-- needs: plot, unet -->``; one without such a comment runs on the base installation.
"""

import importlib.util
import inspect
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from gpuseg._backend import find
from gpuseg._public import dispatched, functions

README = Path(__file__).parents[1] / "README.md"
START, END = "<!-- functions: made by tests/readme.py -->\n", "<!-- end of functions -->"


def table() -> str:
    lines = ["| function | CPU | GPU | same answer |", "|---|---|---|---|"]
    for name, function in functions().items():
        cpu, gpu = forms(function)
        rule = f"{function.contract}{'; ' * bool(function.contract_note)}"
        rule += function.contract_note
        lines.append(f"| `{name}` | {cpu} | {gpu} | {rule} |")
    return "\n".join(lines) + "\n"


def forms(function) -> tuple[str, str]:
    """What runs a function on each side, read off the names that its form uses."""
    if function.via is not function:
        through = f"`{function.via.__name__}`"
        return through, through
    if not dispatched(function):
        return "its parts", "its parts"
    cpu, _ = find(function, "cpu")
    gpu, layer = find(function, "sim")
    return _library(cpu, "cpu"), _library(gpu, "gpu") if layer == "_cuda" else "—"


LIBRARIES = (
    ("gpuseg.kernels", {"cpu": "own kernel", "gpu": "own kernel"}),
    ("skimage", {"cpu": "scikit-image", "gpu": "cuCIM"}),
    ("ndimage", {"cpu": "SciPy", "gpu": "CuPy"}),
)


def _library(form, side: str) -> str:
    used = _used(form, set())
    if side == "gpu":  # other kernels are for the CPU
        used = {name for name in used if not _is_kernel(name) or _has_cuda(name)}
    for name, called in LIBRARIES:
        if any(thing == name or thing.startswith(f"{name}.") for thing in used):
            return called[side]
    return {"cpu": "NumPy", "gpu": "CuPy"}[side]


def _is_kernel(name: str) -> bool:
    return name.startswith("gpuseg.kernels")


def _has_cuda(name: str) -> bool:
    return hasattr(importlib.import_module(name), "cuda_signatures")


def _used(function, seen: set) -> set[str]:
    """The modules and helpers that a function names, through those of its layer."""
    if function in seen:
        return set()
    seen.add(function)
    names, codes = set(), [function.__code__]
    for code in codes:
        names |= {*code.co_names, *code.co_freevars}
        codes += [const for const in code.co_consts if inspect.iscode(const)]
    used = set(names)
    known = function.__globals__ | inspect.getclosurevars(function).nonlocals
    # What is imported where it is used.
    package = function.__module__.rpartition(".")[0]
    for name in names:
        if name.isidentifier() and importlib.util.find_spec(f"{package}.{name}"):
            known |= vars(importlib.import_module(f"{package}.{name}"))
    for thing in [known.get(name) for name in names]:
        if inspect.ismodule(thing) and thing.__name__.startswith("gpuseg._c"):
            known |= vars(thing)
    things = [known.get(name) for name in names]
    things += [part for thing in things if isinstance(thing, tuple) for part in thing]
    for thing in [thing for thing in things if inspect.isclass(thing)]:
        things += [getattr(part, "__func__", part) for part in vars(thing).values()]
    for thing in things:
        if inspect.ismodule(thing):
            used.add(thing.__name__)
        elif callable(thing):
            used.add(getattr(thing, "__module__", None) or "")
            if inspect.isfunction(thing) and thing.__module__.startswith("gpuseg._c"):
                used |= _used(thing, seen)
    return used


def updated() -> str:
    text = README.read_text()
    before, rest = text.split(START)
    _, after = rest.split(END)
    return before + START + table() + END + after


# --- the code blocks --------------------------------------------------------------------------

# What is imported where an extra is installed.
EXTRAS = {
    "plot": ("matplotlib", "jinja2"),
    "unet": ("torch", "safetensors"),
    "volume": ("dask", "distributed", "zarr", "ome_zarr", "h5py"),
}
_BLOCK = re.compile(
    r"(?:<!-- (\w+): ([\w, ]+) -->\n)?^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE
)


class Block(NamedTuple):
    """A code block: its line in the README, its language, what it needs, its code."""

    line: int
    language: str
    needs: tuple[str, ...]
    code: str

    def __str__(self) -> str:
        return f"README.md:{self.line}: {self.language}, needs {', '.join(self.needs) or 'nothing'}"


def blocks() -> list[Block]:
    """Every code block, but for the two commands that set up an environment of their own."""
    text, found = README.read_text(), []
    for match in _BLOCK.finditer(text):
        kind, value, language, code = match.groups()
        if kind == "command":
            continue
        needs = tuple(value.split(", ")) if kind == "needs" else ()
        found.append(Block(text[: match.start(4)].count("\n"), language, needs, code))
    return found


def installed() -> set[str]:
    """The extras that are installed here."""
    return {
        extra
        for extra, modules in EXTRAS.items()
        if all(importlib.util.find_spec(name) for name in modules)
    }


def run(extras, wanted=lambda block: True, report=print) -> dict:
    """Run the blocks that are wanted and need no other extras, in the folder where we are; return
    the names that the Python blocks have made."""
    names: dict = {}
    paths = [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
    environment = os.environ | {"PATH": os.pathsep.join(paths)}
    for block in blocks():
        if not (wanted(block) and set(block.needs) <= set(extras)):
            report(f"left out: {block}")
            continue
        start = time.perf_counter()
        if block.language == "python":
            exec(compile("\n" * block.line + block.code, README.name, "exec"), names)
        else:
            command = ["bash", "-euo", "pipefail", "-c", block.code]
            done = subprocess.run(command, env=environment, capture_output=True, text=True)
            if done.returncode:
                raise AssertionError(f"{block}\n{done.stdout}{done.stderr}")
        report(f"ran in {time.perf_counter() - start:.1f} s: {block}")
    return names


def main(arguments: list[str]) -> None:
    if not arguments:
        README.write_text(updated())
        return
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        run(installed())
        os.chdir(README.parent)


if __name__ == "__main__":
    main(sys.argv[1:])
