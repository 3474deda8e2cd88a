"""Make random calls for some time, or until so many are made; one line for each fault.

    python tests/fuzz/run.py --seed 1 --seconds 1800
    python tests/fuzz/run.py --seed 1 --number 17        # one call again

Every call is written down before it is made, so that what ends the process, or never ends, is
known. --good and --bad make calls of one kind only.
"""

from __future__ import annotations

import argparse
import faulthandler
import os
import sys
import time
import traceback
from collections import Counter
from pathlib import Path

MEMORY = 12 << 30
HANGS = 240  # seconds, compiling for a new type included


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--seconds", type=float, default=60)
    options.add_argument("--calls", type=int, default=10**9)
    options.add_argument("--number", type=int)
    options.add_argument("--start", type=int, default=0)
    options.add_argument("--name", default="", help="only functions whose name holds this")
    options.add_argument("--bad", dest="good", action="store_false", default=None)
    options.add_argument("--good", action="store_true", default=None)
    given = options.parse_args()
    _limit_memory()
    sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]
    os.environ.setdefault("MPLBACKEND", "Agg")

    from fuzz.calls import NAMES, Call, Fault

    names = [name for name in NAMES if given.name in name]
    numbers = (
        range(given.start, given.start + given.calls) if given.number is None else [given.number]
    )
    end = time.monotonic() + given.seconds
    happened, seen = Counter(), set()
    for number in numbers:
        if time.monotonic() > end:
            break
        call = Call(given.seed, number, names, good=given.good)
        print(f"CALL {call}", flush=True)
        faulthandler.dump_traceback_later(HANGS, exit=True)
        began = time.monotonic()
        try:
            happened[call.run()] += 1
        except Fault as fault:
            happened["fault"] += 1
            print(f"FAULT {call}\n      {fault}", flush=True)
            if given.number is not None or (str(fault)[:60], call.name) not in seen:
                seen.add((str(fault)[:60], call.name))
                where = traceback.extract_tb((fault.__cause__ or fault).__traceback__)[-1]
                print(f"      at {where.filename}:{where.lineno}", flush=True)
            if given.number is not None:
                traceback.print_exc()
        finally:
            faulthandler.cancel_dump_traceback_later()
        if time.monotonic() - began > 20:
            print(f"SLOW  {time.monotonic() - began:.0f} s: {call}", flush=True)
    print(f"DONE {sum(happened.values())} calls: {dict(happened)}", flush=True)
    return min(happened["fault"], 1)


def _limit_memory() -> None:
    """So that what asks for too much is told so, and does not take it from others."""
    try:
        import resource
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))


if __name__ == "__main__":
    faulthandler.enable()
    sys.exit(main())
