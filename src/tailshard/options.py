"""Options that all verbs of a pipeline share, and the search that they open."""

from collections.abc import Callable, Sequence
from functools import wraps
from inspect import Signature, signature
from pathlib import Path
from typing import Any, ParamSpec, TypedDict

from .launch import load_profile
from .pipeline import Search
from .pipeline_files import load
from .places import place
from .progress import Progress, silent

Json = dict[str, Any]


Arguments = ParamSpec("Arguments")


class Options(TypedDict, total=False):
    """Options that all verbs of a pipeline share."""

    workdir: Path | str | None
    """Where outputs live, a folder or ``s3://bucket/prefix``; ``tailshard-work/<pipeline name>`` where left
    out."""
    data_root: str | None
    """Where relative input paths start: a folder or a URL."""
    overrides: Sequence[str]
    """``key=value`` strings, such as ``training.epochs=3``."""
    cluster: Path | None
    """A cluster profile; this machine where left out."""
    workers: int | None
    """Dask workers; overrides the profile."""
    progress: Progress


def open_search(
    pipeline: Path | str,
    *,
    workdir: Path | str | None = None,
    data_root: str | None = None,
    overrides: Sequence[str] = (),
    cluster: Path | None = None,
    workers: int | None = None,
    progress: Progress = silent,
    strict: bool = False,
) -> Search:
    """Read a pipeline file and open its work directory.

    Raises
    ------
    ConfigError
        The pipeline file, an override or the cluster profile is wrong.
    WorkdirError
        The work directory belongs to another pipeline.
    """
    loaded = load(pipeline, overrides, data_root)
    where = place(workdir if workdir is not None else Path("tailshard-work") / loaded.name)
    return Search(loaded, where, load_profile(cluster, workers), progress, strict)


def takes_options(verb: Callable[Arguments, Json]) -> Callable[Arguments, Json]:
    """Show the shared options in the signature of a verb, and refuse others in its name."""
    own = list(signature(verb).parameters.values())[:-1]
    names = {parameter.name for parameter in own}
    shared = [
        parameter
        for parameter in signature(open_search).parameters.values()
        if parameter.name in Options.__annotations__
    ]
    shown = Signature([*own, *shared], return_annotation=Json)

    @wraps(verb)
    def checked(*arguments: Arguments.args, **options: Arguments.kwargs) -> Json:
        if wrong := sorted(set(options) - names - set(Options.__annotations__)):
            known = ", ".join(parameter.name for parameter in shown.parameters.values())
            raise TypeError(f"{verb.__name__}() has no option {', '.join(wrong)}; it takes {known}")
        return verb(*arguments, **options)

    checked.__signature__ = shown  # type: ignore[attr-defined]
    return checked
