"""``python -m tailshard.launch.kubernetes NAMESPACE RUN``: conduct the run whose ConfigMap is mounted."""

import sys
from pathlib import Path

import yaml

from ...errors import TailshardError
from .api import connect
from .conduct import conduct
from .pods import PIPELINE_FOLDER
from .run import STEPS_FILE


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(namespace: str, run: str) -> int:
    """Give the exit code: 1 where a step failed, after a last line that says why."""
    content = yaml.safe_load((Path(PIPELINE_FOLDER) / STEPS_FILE).read_text(encoding="utf-8"))
    try:
        conduct(connect(namespace), run, content["after"], content["steps"], _say)
    except TailshardError as error:
        _say(f"error: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
