"""Compile every CUDA kernel to machine code, with no GPU and no driver: the check that CI runs.

    python tests/kernels/compile_cuda.py [module ...]

Each module of kernels/ lists its kernels in ``cuda_signatures()`` as (kernel, types of the
arguments, most registers allowed). The table shows what the assembler says for each architecture:
registers, and bytes of shared memory where there is some. The exit code is 1 where a kernel spills
registers, uses more than it is allowed, does not compile, or is in no list.
"""

from __future__ import annotations

import importlib
import re
import sys
import warnings
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

KERNELS = Path(__file__).parents[2] / "kernels"
ARCHITECTURES = ((7, 5), (8, 0), (9, 0), (10, 0))

_SHORT = {"boolean": "bool", "float": "f", "uint": "u", "int": "i"}


class Report(NamedTuple):
    registers: int
    spilled: int
    stack: int
    shared: int
    error: str = ""


@cache
def kernels_of(name: str):
    """The module, and what it lists; nothing where it has no CUDA kernel."""
    module = importlib.import_module(f"gpuseg.kernels.{name}")
    return module, module.cuda_signatures() if hasattr(module, "cuda_signatures") else []


def unlisted(name: str) -> list[str]:
    """The CUDA kernels written in a module that its list leaves out."""
    module, listed = kernels_of(name)
    known = {id(kernel) for kernel, *_ in listed}
    return [
        attribute
        for attribute, value in vars(module).items()
        if type(value).__name__ == "CUDADispatcher"
        and not value.targetoptions.get("device")
        and value.py_func.__module__ == module.__name__
        and id(value) not in known
    ]


def short(argument) -> str:
    """A Numba type in a few letters: a scalar as i64, an array of two axes as f32[2]."""
    name = str(getattr(argument, "dtype", argument))
    for word, letter in _SHORT.items():
        name = name.replace(word, letter)
    return f"{name}[{argument.ndim}]" if hasattr(argument, "ndim") else name


def assemble(name: str, index: int) -> list[Report]:
    """What the assembler says about one listed kernel, for each architecture."""
    from numba import types
    from numba.cuda import compiler, dispatcher

    kernel, arguments, _ = kernels_of(name)[1][index]
    # Numba asks the driver which device a device function is for, and there is no driver. The
    # answer does not matter: the function goes into the kernel as LLVM code, not as machine code.
    dispatcher.get_current_device = lambda: SimpleNamespace(compute_capability=ARCHITECTURES[0])
    try:
        # What `cuda.compile_ptx` does. Most of its time goes into the LLVM code, which is the same
        # for all these architectures, so it is made but once.
        library, _ = compiler._compile_pyfunc_with_fixup(
            kernel.py_func, types.void(*arguments), device=False, abi="numba", cc=ARCHITECTURES[0]
        )
    except Exception as error:  # whatever the compilers raise is this check's answer
        return [failed(error)] * len(ARCHITECTURES)
    return [_assemble(library, architecture) for architecture in ARCHITECTURES]


def failed(error: Exception) -> Report:
    text = " ".join(str(error).split())
    return Report(0, 0, 0, 0, f"{type(error).__name__}: {text[:1000]}")


def _assemble(library, architecture) -> Report:
    from cuda.core import Linker, LinkerOptions, ObjectCode

    options = LinkerOptions(arch="sm_{}{}".format(*architecture), ptxas_options=["-v"])
    try:
        ptx = library.get_asm_str(cc=architecture)
        linker = Linker(ObjectCode.from_ptx(ptx.encode()), options=options)
        linker.link("cubin")
        log = linker.get_info_log()
    except Exception as error:
        return failed(error)
    if "Used" not in log:
        return Report(0, 0, 0, 0, f"the assembler said nothing of registers: {log}")

    def total(pattern: str, text: str) -> int:
        return sum(map(int, re.findall(pattern, text)))

    return Report(
        registers=max(map(int, re.findall(r"Used (\d+) registers", log))),
        spilled=total(r"(\d+) bytes spill", log),
        stack=max(map(int, re.findall(r"(\d+) bytes stack frame", log)), default=0),
        # The log leaves out what Numba declares beside the kernel and not within it.
        shared=total(r"\.shared .*\.b8 \w+\[(\d+)\];", ptx),
    )


def shown(report: Report) -> str:
    if report.error:
        return "failed"
    parts = [str(report.registers)]
    parts += [f"{report.spilled} B spilled"] * bool(report.spilled)
    parts += [f"{report.stack} B stack"] * bool(report.stack)
    parts += [f"{report.shared} B shared"] * bool(report.shared)
    return ", ".join(parts)


def faults(report: Report, most: int) -> list[str]:
    if report.error:
        return [report.error]
    found = [f"spills {report.spilled} bytes"] * bool(report.spilled)
    if report.registers > most:
        found.append(f"{report.registers} registers, {most} allowed")
    return found


def main(names: list[str]) -> int:
    names = names or sorted(path.stem for path in KERNELS.glob("*.py"))
    jobs = [(name, i) for name in names for i in range(len(kernels_of(name)[1]))]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        results = list(pool.map(assemble, *zip(*jobs), chunksize=4)) if jobs else []
    titles = ("kernel", "arguments", *("sm_{}{}".format(*cc) for cc in ARCHITECTURES), "allowed")
    rows, wrong = [titles], []
    for (name, i), reports in zip(jobs, results):
        kernel, arguments, most = kernels_of(name)[1][i]
        full = f"{name}.{kernel.py_func.__name__}"
        types = " ".join(map(short, arguments))
        rows.append((full, types, *map(shown, reports), str(most)))
        found: dict[str, list[str]] = {}
        for architecture, report in zip(titles[2:], reports):
            for fault in faults(report, most):
                found.setdefault(fault, []).append(architecture)
        wrong += [f"{full}({types}) on {' '.join(on)}: {fault}" for fault, on in found.items()]
    wrong += [f"{name}.{kernel} is not in cuda_signatures()"
              for name in names for kernel in unlisted(name)]  # fmt: skip
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
    print(f"{len(jobs)} kernels x {len(ARCHITECTURES)} architectures, {len(wrong)} faults")
    for fault in wrong:
        print("FAULT", fault, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    warnings.filterwarnings("ignore", category=Warning, module="numba")
    sys.exit(main(sys.argv[1:]))
