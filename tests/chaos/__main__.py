"""Play rounds of chaos until the time is up; exit code 1 when something was lost, paid twice, uncounted or wrong.

A round is a service that injects faults, a query run (or two at once) that is killed again and again, and a comparison
of both sides' books. Rounds follow from their seeds, apart from how fast the machine is.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos.rounds import MEMORY, Plan, Tally, largest_child, play


def main() -> int:
    """Play, print one line a round, and the sum."""
    parser = argparse.ArgumentParser(prog='python -m tests.chaos', description=__doc__)
    parser.add_argument('--minutes', type=float, default=10.0, help='after which no further round begins (10)')
    parser.add_argument('--seed', type=int, default=0, help='of the first round; the next have the next ones (0)')
    parser.add_argument('--rounds', type=int, help='how many at most')
    args = parser.parse_args()
    total, seed, until = Tally(), args.seed, time.monotonic() + args.minutes * 60
    while time.monotonic() < until and (args.rounds is None or seed < args.seed + args.rounds):
        with tempfile.TemporaryDirectory(prefix='chaos-') as folder:
            tally = play(Plan.draw(seed), Path(folder))
        total.add(tally)
        print(f'seed {seed}: {"ok" if tally.clean else "WRONG"}\n{tally}\n', flush=True)
        seed += 1
    peak = largest_child()
    if peak > MEMORY:
        total.broken.append(f'a process took {peak >> 20} MiB')
    print(f'{seed - args.seed} rounds\n{total}\nlargest process: {peak >> 20} MiB')
    return 0 if total.clean else 1


if __name__ == '__main__':
    sys.exit(main())
