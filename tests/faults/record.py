"""What was disturbed and how it ended: a line for every disturbance, and the table of them all."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

Outcome = Literal["equal", "error, then equal", "wrong"]
"""equal: the same run, or those that took it up again without a change, ended with the undisturbed result.
error, then equal: a clear error; when the fault was mended, the next run ended with it.
wrong: anything else."""


@dataclass(frozen=True)
class Disturbance:
    """One fault, at one moment."""

    stage: str
    fault: str
    moment: str
    """When, or what was hit: enough to do it again."""
    outcome: Outcome = "wrong"
    said: str = ""
    """The error, or what was wrong."""


@dataclass(frozen=True)
class Record:
    """All disturbances of a campaign."""

    seed: int
    disturbances: tuple[Disturbance, ...]
    seconds: float = 0.0

    @property
    def kills(self) -> int:
        """Processes that were killed before they had ended."""
        return sum(each.fault.startswith("kill ") for each in self.disturbances)

    @property
    def wrong(self) -> list[Disturbance]:
        """Disturbances that did not end as they may."""
        return [each for each in self.disturbances if each.outcome == "wrong"]

    def write(self, folder: Path) -> None:
        """Write ``faults.json`` (every disturbance) and ``faults.md`` (the table)."""
        folder.mkdir(parents=True, exist_ok=True)
        content = {
            "seed": self.seed,
            "kills": self.kills,
            "seconds": round(self.seconds),
            "disturbances": [asdict(each) for each in self.disturbances],
        }
        (folder / "faults.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        (folder / "faults.md").write_text(self.table(), encoding="utf-8")

    def table(self) -> str:
        """Count the outcomes by stage and fault, as a table in Markdown."""
        rows = _counted(self.disturbances)
        lines = [
            "| stage | fault | count | equal | clear error, then equal | wrong |",
            "|---|---|---|---|---|---|",
            *(
                f"| {stage} | {fault} | {sum(its.values())} | {its['equal']} | {its['error, then equal']} | "
                f"{its['wrong']} |"
                for (stage, fault), its in rows.items()
            ),
        ]
        total = Counter(each.outcome for each in self.disturbances)
        lines.append(
            f"| all | | {len(self.disturbances)} | {total['equal']} | {total['error, then equal']} | "
            f"{total['wrong']} |"
        )
        return "\n".join(lines) + "\n"


STAGES = ("ingest", "train", "score", "histogram", "report")


def _counted(disturbances: Iterable[Disturbance]) -> dict[tuple[str, str], Counter[str]]:
    rows: dict[tuple[str, str], Counter[str]] = {}
    for each in disturbances:
        rows.setdefault((each.stage, each.fault), Counter())[each.outcome] += 1

    def place(row: tuple[str, str]) -> tuple[int, str]:
        stage, fault = row
        return (STAGES.index(stage) if stage in STAGES else len(STAGES)), fault

    return {row: rows[row] for row in sorted(rows, key=place)}


def judged(disturbances: Sequence[Disturbance], outcome: Outcome, said: str = "") -> list[Disturbance]:
    """Give disturbances of one run the outcome of that run, where they have none of their own."""
    return [
        Disturbance(each.stage, each.fault, each.moment, outcome, each.said or said)
        if each.outcome == "wrong" and not each.said
        else each
        for each in disturbances
    ]
