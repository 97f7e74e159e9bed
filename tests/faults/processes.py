"""Which of a driver's processes is what, and how one is killed. Nothing is looked for outside them."""

import signal
from collections.abc import Sequence
from typing import Literal

import psutil

from .driver import is_alive

Kind = Literal["Dask worker", "Ray worker", "raylet", "Ray GCS"]


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
    if program == "raylet":
        return "raylet"
    if program == "gcs_server":
        return "Ray GCS"
    if any("multiprocessing.spawn import spawn_main" in argument for argument in command):
        return "Dask worker"
    return None


def kill(process: psutil.Process, with_signal: int = signal.SIGKILL) -> bool:
    """Send a signal; tell whether there was still somebody to receive it."""
    if not is_alive(process):
        return False
    try:
        process.send_signal(with_signal)
    except psutil.NoSuchProcess:
        return False
    return True
