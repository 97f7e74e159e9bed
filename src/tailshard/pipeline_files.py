"""Pipeline files: YAML in, a checked `Pipeline` out.

``python -m tailshard.pipeline_files`` writes the JSON schema that editors use for completion.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from .config import Pipeline
from .errors import ConfigError

SCHEMA_FILE = Path(__file__).with_name("pipeline.schema.json")


def load(path: Path | str, overrides: Iterable[str] = (), data_root: str | None = None) -> Pipeline:
    """Read, override and validate a pipeline file.

    Parameters
    ----------
    path
        The YAML file.
    overrides
        ``key=value`` strings; keys are dotted (``training.epochs=3``, ``datasets.0.files=a.root``),
        values are YAML.
    data_root
        Where relative input paths start, itself seen from the current folder; replaces the file's own,
        which is seen from the file's folder. Where there is neither, and nothing published to read
        instead, the files of a data set start at the folder of the pipeline file.

    Raises
    ------
    ConfigError
        The file is absent, is not YAML, or says something that cannot be.
    """
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the pipeline {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path} must hold a mapping of keys to values, found {type(content).__name__}")
    folder = path.resolve().parent
    if isinstance(content.get("data_root"), str):
        content["data_root"] = _below(folder, content["data_root"])
    for override in overrides:
        _override(content, override)
    if data_root is not None:
        content["data_root"] = data_root
    try:
        pipeline = Pipeline.model_validate(content)
    except ValidationError as error:
        raise ConfigError(f"{path}:\n" + "\n".join(_sentences(error))) from None
    if pipeline.data_root is not None:
        return pipeline
    datasets = tuple(
        each
        if each.published
        else each.model_copy(update={"files": tuple(_below(folder, file) for file in each.files)})
        for each in pipeline.datasets
    )
    return pipeline.model_copy(update={"datasets": datasets})


def _below(folder: Path, location: str) -> str:
    """Start a relative path at a folder; an absolute one and a URL stay as they are."""
    return location if "://" in location or location.startswith(("/", "~")) else str(folder / location)


def _override(content: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set {override}: expected key=value, for example training.epochs=3")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {override}: the value is not YAML: {error}") from error
    *parents, last = key.split(".")
    target: Any = content
    for parent in parents:
        if isinstance(target, list) and parent.isdigit() and int(parent) < len(target):
            target = target[int(parent)]
        elif isinstance(target, dict):
            target = target.setdefault(parent, {})
        else:
            raise ConfigError(f"--set {override}: there is no '{parent}' to set something in")
    if isinstance(target, list) and last.isdigit() and int(last) < len(target):
        target[int(last)] = value
    elif isinstance(target, dict):
        target[last] = value
    else:
        raise ConfigError(f"--set {override}: '{'.'.join(parents)}' has no key '{last}'")


def _sentences(error: ValidationError) -> Iterable[str]:
    for problem in error.errors(include_url=False):
        where = ".".join(str(step) for step in problem["loc"]) or "the pipeline"
        if problem["type"] == "extra_forbidden":
            yield f"  {where}: there is no such key"
        elif problem["type"] == "missing":
            yield f"  {where}: this key is missing"
        elif problem["type"] == "value_error":
            yield f"  {where}: {problem['ctx']['error']}"
        else:
            yield f"  {where}: {problem['msg'].lower()}, found {problem['input']!r}"


def json_schema() -> dict[str, Any]:
    """JSON schema of a pipeline file, for editors."""
    schema = Pipeline.model_json_schema(mode="validation")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "tailshard pipeline",
        **schema,
    }


def shipped(name: str) -> Path:
    """Path of a pipeline that tailshard brings along (``demo``, ``open-data`` ...).

    Raises
    ------
    ConfigError
        There is none of that name.
    """
    package = Path(__file__).resolve().parent
    # Inside the package where it is installed, beside src in a checkout.
    for folder in (package / "pipelines", package.parents[1] / "pipelines"):
        if (folder / f"{name}.yaml").is_file():
            return folder / f"{name}.yaml"
    raise ConfigError(f"tailshard ships no pipeline called '{name}'")


if __name__ == "__main__":
    SCHEMA_FILE.write_text(json.dumps(json_schema(), indent=1) + "\n", encoding="utf-8")
