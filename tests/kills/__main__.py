"""Kills every command that has a scenario, and prints what each survived."""

import argparse
import importlib
import multiprocessing
import pkgutil
import sys

from tests import kills
from tests.kills.frame import Scenario, Tally, torture


def scenarios() -> dict[str, Scenario]:
    """Name → scenario, of all files of this folder that define `SCENARIOS`."""
    found = {}
    for module in pkgutil.iter_modules(kills.__path__):
        if module.name not in ("__main__", "frame"):
            for scenario in getattr(importlib.import_module(f"tests.kills.{module.name}"), "SCENARIOS", ()):
                found[scenario.name] = scenario
    return found


def _torture(queue, name: str, seconds: float, seed: int) -> None:
    try:
        queue.put(torture(scenarios()[name], seconds, seed))
    except Exception as error:  # what spoils one scenario must not hide the others' results
        queue.put(Tally(name, failures=[f"{type(error).__name__}: {error}"]))


def main() -> None:
    known = scenarios()
    parser = argparse.ArgumentParser(description=kills.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(known)}; default: all")
    parser.add_argument("--seconds", type=float, default=60, help="for each of them, besides its first, whole run")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if unknown := sorted(set(args.names) - known.keys()):
        parser.error(f"no scenario {unknown[0]!r}; there are {', '.join(known)}")
    failed = False
    print(f"{'command':<12} {'kills':>6} {'at file events':>15} {'at moments':>11} {'rounds':>7}  one run")
    context = multiprocessing.get_context("fork")
    for name in args.names or known:
        queue = context.SimpleQueue()
        process = context.Process(target=_torture, args=(queue, name, args.seconds, args.seed))
        process.start()
        tally = queue.get()
        process.join()
        print(
            f"{name:<12} {tally.at_events + tally.at_moments:>6} {tally.at_events:>15} {tally.at_moments:>11} "
            f"{tally.rounds:>7}  {tally.events} events, {tally.seconds:.1f} s",
            flush=True,
        )
        for failure in tally.failures:
            failed = True
            print(f"{name}: {failure}", file=sys.stderr)
    sys.exit(failed)


if __name__ == "__main__":
    main()
