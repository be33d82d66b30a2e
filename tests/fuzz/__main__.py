"""`python -m tests.fuzz` is scripts/fuzz: spoilt inputs for everything that optlstm parses."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is loaded
os.environ.pop("OPTLSTM_STORAGE", None)

from tests.fuzz.parsers import PARSERS
from tests.fuzz.run import Escape, run


def main() -> int:
    asked = argparse.ArgumentParser("scripts/fuzz", description=__doc__)
    asked.add_argument("--count", type=int, default=10_000, help="inputs in all (default 10000)")
    asked.add_argument("--first", type=int, default=0, help="number of the first input of each parser")
    asked.add_argument("--parser", choices=PARSERS, help="this one alone")
    given = asked.parse_args()
    parsers = {given.parser: PARSERS[given.parser]} if given.parser else PARSERS
    parts = sum(parser.share for parser in parsers.values())
    found: list[Escape] = []
    for name, parser in parsers.items():
        count, began = given.count * parser.share // parts, time.monotonic()
        of_parser = run(name, given.first, given.first + count)
        print(f"{name}: {count} inputs, {time.monotonic() - began:.0f} s, {len(of_parser)} escaped", flush=True)
        found += of_parser
    kinds = Counter((e.parser, e.where, e.error.partition(":")[0]) for e in found)
    for (name, where, kind), count in kinds.most_common():
        one = next(e for e in found if (e.parser, e.where, e.error.partition(":")[0]) == (name, where, kind))
        print(f"{count:>6}  {one.error}\n        {where}")
        print(f"        scripts/fuzz --parser {name} --first {one.number} --count 1")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
