import re
from pathlib import Path

import pytest
from tests.clusters import threads_of_this_process

from tailshard.launch import performance_log
from tailshard.naming import task_key


def test_a_report_needs_no_network_and_names_the_tasks(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "ingest.html"
    with threads_of_this_process() as client:
        with performance_log(client, path):
            assert client.submit(abs, -1, key=task_key("ingest", "zjets")).result() == 1
        first = path.read_text(encoding="utf-8")
        assert "ingest-zjets" in first
        loaded = re.findall(r"""<(?:script|link|img)[^>]*(?:src|href)=["']?http[^>]*""", first)
        assert [tag for tag in loaded if "icon" not in tag] == []
        assert len(first) < 4_000_000
        with pytest.raises(ZeroDivisionError), performance_log(client, path):
            client.submit(divmod, 1, 0, key=task_key("score", "ttbar")).result()
    assert "score-ttbar" in path.read_text(encoding="utf-8")
    assert [file.name for file in path.parent.iterdir()] == ["ingest.html"]


def test_a_report_that_cannot_be_written_costs_nothing(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file where a folder should be")
    told: list[str] = []
    path = tmp_path / "logs" / "ingest.html"
    with (
        threads_of_this_process() as client,
        performance_log(client, path, lambda *what: told.append(what[0])),
    ):
        result = client.submit(abs, -1).result()
    assert result == 1
    assert len(told) == 1
    assert told[0].startswith(f"No performance report in {path}: ")


def test_a_scheduler_that_is_gone_costs_nothing(tmp_path: Path) -> None:
    told: list[str] = []
    with (
        threads_of_this_process() as client,
        performance_log(client, tmp_path / "ingest.html", lambda *what: told.append(what[0])),
    ):
        client.close()
    assert len(told) == 1
    assert told[0].endswith("the Dask scheduler is gone or was restarted; run the same again")
    assert not (tmp_path / "ingest.html").exists()
