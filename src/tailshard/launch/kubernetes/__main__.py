"""What pods of a run do beside the verbs: ``python -m tailshard.launch.kubernetes``.

``conduct NAMESPACE RUN`` takes the steps of the run whose ConfigMap is mounted; ``parcel WORKDIR`` prints
what a person reads of a search.
"""

import os
import sys
from pathlib import Path

import yaml

from ...errors import TailshardError
from .api import UnreachableError, connect
from .conduct import conduct
from .parcel import pack
from .pods import PIPELINE_FOLDER
from .run import STEPS_FILE


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _conduct(namespace: str, run: str) -> int:
    """Give the exit code, after a last line that says why where a step failed.

    It is that of a refusal only where there was one: where Kubernetes cannot be reached the next pod goes on.
    """
    content = yaml.safe_load((Path(PIPELINE_FOLDER) / STEPS_FILE).read_text(encoding="utf-8"))
    try:
        conduct(connect(namespace, patient=True), run, content["after"], content["steps"], _say)
    except TailshardError as error:
        _say(f"error: {error}")
        return os.EX_TEMPFAIL if isinstance(error, UnreachableError) else 1
    return 0


def main(what: str, *arguments: str) -> int:
    """Do one of both, and give the exit code."""
    if what == "conduct":
        return _conduct(*arguments)
    sys.stdout.write(pack(Path(*arguments)))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
