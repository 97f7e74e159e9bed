import re
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]


def test_every_fault_has_a_test_that_exists() -> None:
    text = (REPOSITORY / "docs" / "faults.md").read_text(encoding="utf-8")
    rows = [
        line.strip("|").split("|")[-1]
        for line in text.partition("## Disturbed on purpose")[0].splitlines()
        if line.startswith("|") and not line.startswith(("| fault", "|---"))
    ]
    assert len(rows) >= 24
    sources = "\n".join(
        path.read_text(encoding="utf-8") for path in (REPOSITORY / "tests").rglob("test_*.py")
    )
    existing = set(re.findall(r"def (test_\w+)\(", sources))
    for row in rows:
        named = re.findall(r"`(test_\w+)`", row)
        assert named, f"a fault without a test: {row}"
        assert set(named) <= existing, f"not there: {set(named) - existing}"
