from pathlib import Path

import pytest

from tailshard.errors import ClusterError
from tailshard.launch.kubernetes.parcel import FILES, MOST_BYTES, pack, unpack


def _write(folder: Path, name: str, content: bytes) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)


def test_results_arrive_as_they_were(tmp_path: Path) -> None:
    for number, name in enumerate(FILES):
        _write(tmp_path / "there", name, bytes(range(256)) * (number + 1))
    _write(tmp_path / "there", "store/catalog.json", b"{}")  # which nobody reads
    text = pack(tmp_path / "there")
    assert max(map(len, text.splitlines())) <= 80  # of any length, a line may be cut by a container's runtime
    warned = f"a library: Warning\n{text}"  # the log of a pod has both of its streams
    assert unpack(warned, tmp_path / "here") == [tmp_path / "here" / name for name in FILES]
    for name in FILES:
        assert (tmp_path / "here" / name).read_bytes() == (tmp_path / "there" / name).read_bytes()
    assert not (tmp_path / "here" / "store").exists()


def test_the_most_important_comes_first_where_it_would_be_too_much(tmp_path: Path) -> None:
    import numpy as np

    _write(tmp_path, FILES[0], b"{}")
    noise = np.random.default_rng(1).bytes(MOST_BYTES + 1)  # which nothing compresses
    _write(tmp_path, FILES[2], noise)
    _write(tmp_path, FILES[3], b"small")
    text = pack(tmp_path)
    assert len(text) < MOST_BYTES
    assert unpack(text, tmp_path / "here") == [tmp_path / "here" / FILES[0]]


@pytest.mark.parametrize(
    "damage", [lambda text: text[:-80], lambda text: text.replace("A", "B", 1), lambda _: ""]
)
def test_what_did_not_arrive_whole_is_refused(tmp_path: Path, damage: object) -> None:
    _write(tmp_path, FILES[0], b"{}" * 100)
    with pytest.raises(ClusterError, match="did not arrive whole"):
        unpack(damage(pack(tmp_path)), tmp_path / "here")  # type: ignore[operator]
