"""Outcomes -> a table to read and JSON to keep."""

import json
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich.table import Table as RichTable
from rich.text import Text

from .harness import Goal, Outcome, Settings, Table, ratio

PACKAGES = (
    *("tailshard", "numpy", "numba", "awkward", "vector", "uproot", "zarr", "numcodecs", "zarrs"),
    *("dask", "distributed", "torch", "ray", "pyarrow", "pandas", "tables", "h5py", "hdf5plugin"),
    *("root", "mosaicml-streaming", "litdata"),
)


def summarised(table: Table, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Give everything known of a table as JSON values."""
    by_name = {outcome.contestant.name: outcome for outcome in outcomes}
    return {
        "title": table.title,
        "baseline": table.baseline,
        "contestants": [_contestant(table, by_name, outcome) for outcome in outcomes],
        "goals": [_goal(by_name, goal) for goal in table.goals],
    }


def _contestant(table: Table, by_name: Mapping[str, Outcome], outcome: Outcome) -> dict[str, Any]:
    its = outcome.contestant
    baseline = by_name.get(its.baseline or table.baseline)
    keys = dict.fromkeys(key for run in outcome.runs for key in run)
    return {
        "name": its.name,
        "cores": its.cores,
        "absent": outcome.absent or None,
        "failed": outcome.failed or None,
        "baseline": baseline.contestant.name if baseline else None,
        "figures": {
            key: {
                "median": statistics.median(values),
                "min": min(values),
                "max": max(values),
                "runs": values,
                "of_baseline": ratio(outcome, baseline, key) if baseline else None,
            }
            for key in keys
            if (values := outcome.values(key))
        },
    }


def _goal(by_name: Mapping[str, Outcome], goal: Goal) -> dict[str, Any]:
    mine, other = by_name.get(goal.contestant), by_name.get(goal.over)
    found = None
    if mine and goal.over:
        found = ratio(mine, other, goal.figure) if other else None
    elif mine and (values := mine.values(goal.figure)):
        found = statistics.median(values)
    reached = None
    if found is not None:
        reached = (goal.least is None or found >= goal.least) and (goal.most is None or found <= goal.most)
    return {**asdict(goal), "found": found, "reached": reached}


def drawn(table: Table, summary: Mapping[str, Any]) -> RichTable:
    """Draw the medians, their spread and their ratio to the baseline."""
    caption = f"x: ratio to {table.baseline}" if table.baseline else None
    drawing = RichTable(title=table.title, title_justify="left", caption=caption, caption_justify="left")
    drawing.add_column("", max_width=44)
    drawing.add_column("cores", justify="right")
    for figure in table.figures:
        drawing.add_column(figure.title, justify="right")
    for row in summary["contestants"]:
        cells = [_cell(figure, row["figures"].get(figure.key)) for figure in table.figures]
        name = Text(row["name"])
        if why := row["absent"]:
            name.append(f"\nabsent: {why}", "yellow")
        if why := row["failed"]:
            name.append(f"\nfailed: {why}", "red")
        drawing.add_row(name, str(row["cores"]), *cells)
    return drawing


def _cell(figure: Any, value: Mapping[str, Any] | None) -> Text:
    if value is None:
        return Text("-")
    shown = [_number(figure.scale * value[key]) for key in ("median", "min", "max")]
    text = Text(shown[0])
    if len(value["runs"]) > 1 and shown[1] != shown[2]:
        text.append(f"  [{shown[1]}, {shown[2]}]", "dim")
    if figure.compared and value["of_baseline"] is not None:
        text.append(f"  x{_number(value['of_baseline'])}", "bold")
    return text


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def told(goal: Mapping[str, Any]) -> Text:
    """Say whether a goal was reached."""
    limit, word = (goal["least"], "at least") if goal["least"] is not None else (goal["most"], "at most")
    against = f" over '{goal['over']}'" if goal["over"] else ""
    what = f"{goal['contestant']}, {goal['figure']}{against}: {word} {limit:g}"
    if goal["found"] is None:
        return Text(f"  not measured  {what}", "yellow")
    verdict, style = ("reached", "green") if goal["reached"] else ("missed ", "red")
    return Text(f"  {verdict}  {what}, found {_number(goal['found'])}", style)


def machine(settings: Settings) -> dict[str, Any]:
    """Describe where and with what it was measured."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    memory = Path("/proc/meminfo").read_text(encoding="utf-8").split("MemTotal:")[1].split()[0]
    model = [
        line.split(":")[1].strip()
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        if line.startswith("model name")
    ]
    return {
        "cpu": model[0] if model else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": 1024 * int(memory),
        "load_at_start": os.getloadavg()[0],
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": versions,
        "settings": {**asdict(settings), "work": str(settings.work)},
    }


def write(path: Path, content: Mapping[str, Any]) -> None:
    """Replace the JSON file whole."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    partial.replace(path)
