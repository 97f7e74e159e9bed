"""Find the pipelines that tailshard brings along."""

from pathlib import Path

from .errors import ConfigError


def pipeline_file(name: str) -> Path:
    """Path of a shipped pipeline (``demo``, ``open-data`` ...), installed or in a checkout.

    Raises
    ------
    ConfigError
        There is none of that name.
    """
    package = Path(__file__).resolve().parent
    for folder in (package / "pipelines", package.parents[1] / "pipelines"):
        if (folder / f"{name}.yaml").is_file():
            return folder / f"{name}.yaml"
    raise ConfigError(f"tailshard ships no pipeline called '{name}'")
