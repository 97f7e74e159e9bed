"""Which of a driver's processes is what, and how one is killed. Nothing is looked for outside them."""

import signal
from collections.abc import Sequence
from typing import Literal

import psutil

from .driver import is_alive

Kind = Literal["Dask worker", "Ray worker", "raylet", "Ray GCS"]


_OF_RAY: dict[str, Kind] = {"raylet": "raylet", "gcs_server": "Ray GCS"}


def of_kind(processes: Sequence[psutil.Process], kind: Kind) -> list[psutil.Process]:
    """Choose the processes of a kind."""
    return [process for process in processes if kind_of(process) == kind]


def kind_of(process: psutil.Process) -> Kind | None:
    """Tell what a process that tailshard, Dask or Ray has started is; None for helpers of theirs."""
    try:
        command = process.cmdline()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return None
    program = command[0].rpartition("/")[2] if command else ""
    if program.startswith("ray::") and "TrainWorker" in program:
        return "Ray worker"
    if program in _OF_RAY:
        return _OF_RAY[program]
    if _is_of_forkserver(command) and _is_of_forkserver(_command_of_parent(process)):
        return "Dask worker"  # a fork of the server has its command line
    return None


def _is_of_forkserver(command: Sequence[str]) -> bool:
    return any("multiprocessing.forkserver import main" in argument for argument in command)


def _command_of_parent(process: psutil.Process) -> Sequence[str]:
    try:
        parent = process.parent()
        return parent.cmdline() if parent is not None else ()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return ()


def kill(process: psutil.Process, with_signal: int = signal.SIGKILL) -> bool:
    """Send a signal; tell whether there was still somebody to receive it."""
    if not is_alive(process):
        return False
    try:
        process.send_signal(with_signal)
    except psutil.NoSuchProcess:
        return False
    return True
