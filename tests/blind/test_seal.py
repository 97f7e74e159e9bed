"""The truth, sealed."""

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from tailshard.blind.seal import SEALED, open_seal, seal
from tailshard.errors import WorkdirError

TRUTH = {"signal": "resonance", "events": 71}


def test_what_was_sealed_comes_out_again(tmp_path: Path) -> None:
    digest = seal(tmp_path, TRUTH)
    opened = open_seal(tmp_path, digest)
    assert opened.pop("salt")
    assert opened == TRUTH


def test_a_seal_shows_nothing_to_who_does_not_open_it(tmp_path: Path) -> None:
    seal(tmp_path, TRUTH)
    text = (tmp_path / SEALED).read_text()
    assert "resonance" not in text
    assert "71" not in json.loads(text)["what"]
    assert stat.S_IMODE((tmp_path / SEALED).stat().st_mode) == 0o600


def test_equal_truths_have_different_digests(tmp_path: Path) -> None:
    """Else a list of all truths would tell which it is."""
    (tmp_path / "other").mkdir()
    assert seal(tmp_path, TRUTH) != seal(tmp_path / "other", TRUTH)


def test_a_truth_is_sealed_once(tmp_path: Path) -> None:
    seal(tmp_path, TRUTH)
    with pytest.raises(FileExistsError):
        seal(tmp_path, TRUTH)


def _damage(path: Path, folder: Path) -> None:
    path.write_text(path.read_text()[:-20])


def _exchange(path: Path, folder: Path) -> None:
    """Seal another truth: consistent in itself."""
    (folder / "other").mkdir()
    seal(folder / "other", {"signal": None, "events": 0})
    path.unlink()
    (folder / "other" / SEALED).rename(path)


def _flip(path: Path, folder: Path) -> None:
    content: dict[str, Any] = json.loads(path.read_text())
    content["sealed"] = content["sealed"][:-8] + "AAAAAAA="
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("tamper", [_damage, _exchange, _flip])
def test_a_truth_that_was_changed_is_refused(tmp_path: Path, tamper: Any) -> None:
    digest = seal(tmp_path, TRUTH)
    tamper(tmp_path / SEALED, tmp_path)
    with pytest.raises(WorkdirError, match="this blind test is void"):
        open_seal(tmp_path, digest)


def test_a_folder_without_a_seal_is_no_blind_test(tmp_path: Path) -> None:
    with pytest.raises(WorkdirError, match="holds no blind test"):
        open_seal(tmp_path, "")
