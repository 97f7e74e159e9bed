"""What the robustness tests of a search have left beside its results; `stress.results` documents it."""

import json
from pathlib import Path
from typing import Any

from ..errors import WorkdirError


def read_robustness(results: Path) -> dict[str, Any] | None:
    """Read what 'tailshard stress' has found; None where it was not run.

    Raises
    ------
    WorkdirError
        The file cannot be read.
    """
    path = results / "stress.json"
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise WorkdirError(f"{path} cannot be read ({error}); run 'tailshard stress' again") from error
    return content
