"""The harness on the command line: ``python -m tests.faults --kills 200 --seed 7 --out FOLDER``.

Ends with exit code 1 where a disturbed run gave another result, or no clear error.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from .campaign import Campaign


def main() -> int:
    """Disturb runs, and write ``faults.json`` and ``faults.md``."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--kills", type=int, default=50, help="processes to kill [50]")
    parser.add_argument("--seed", type=int, default=1, help="of every moment and place [1]")
    parser.add_argument("--out", type=Path, default=Path("faults"), help="folder of the tables [faults]")
    options = parser.parse_args()
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:6.0f} s  {text}", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory(prefix="tailshard-faults-") as folder:
        campaign = Campaign(Path(folder), options.seed, say)
        try:
            record = campaign.everything(options.kills)
        finally:
            campaign.record().write(options.out)
    print(record.table())
    for skipped in campaign.skipped:
        print(f"skipped: {skipped}")
    for wrong in record.wrong:
        print(f"wrong: {wrong}")
    return 1 if record.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
