import shutil
from pathlib import Path

import pytest

from tailshard.fingerprint import fingerprint
from tailshard.ledger import code_of
from tailshard.pipeline import STAGES

SOURCE = Path(__file__).parents[1] / "src" / "tailshard"
STAGE_MODULES = ("ingest.stage", "train.ensemble", "search.score", "search.histogram", "report.page")

SEARCH = {"search.histogram", "report.page"}


def _all(package: Path) -> dict[str, str]:
    fingerprint.cache_clear()
    return {module: fingerprint(module, package) for module in STAGE_MODULES}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "old", "new", "changed"),
    [
        ("ingest/fill.py", "import numpy as np", "import numpy as np\nSOMETHING = 1", {"ingest.stage"}),
        ("train/loop.py", "import torch", "import torch\nSOMETHING = 1", {"train.ensemble"}),
        ("search/significance.py", "_SMALL_RATIO = 1e-6", "_SMALL_RATIO = 1e-7", SEARCH),
        ("report/page.html", "<body>", "<body class='new'>", {"report.page"}),
        ("store/layout.py", "import numpy as np", "import numpy as np\nSOMETHING = 1", set(STAGE_MODULES)),
        ("store/layout.py", "import numpy as np", "import numpy as np  # what for?", set()),
        ("store/layout.py", '"""Where things are:', '"""Where all things are:', set()),
        ("config.py", "import hashlib", "import hashlib\nSOMETHING = 1", set()),
    ],
)  # fmt: skip
def test_a_stage_changes_with_the_code_that_it_runs_and_with_no_other(
    tmp_path: Path, file: str, old: str, new: str, changed: set[str]
) -> None:
    package = tmp_path / "tailshard"
    shutil.copytree(SOURCE, package, ignore=shutil.ignore_patterns("__pycache__"))
    before = _all(package)
    text = (package / file).read_text()
    assert old in text
    (package / file).write_text(text.replace(old, new, 1))
    after = _all(package)
    assert {module for module in STAGE_MODULES if before[module] != after[module]} == changed


def test_every_stage_has_code() -> None:
    sources = [code_of(stage)["source"] for stage in STAGES]
    assert len(set(sources)) == len(STAGES)
