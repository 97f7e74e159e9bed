"""The one place where a name in a pipeline file becomes a Python object.

A name is either built in (``ae_small``) or ``module:object``, found on the Python path, so that a
user's own selection, dialect or model needs no change to tailshard.
"""

import importlib
import inspect
import sys
import tokenize
from collections.abc import Mapping
from typing import Any

from .errors import ConfigError


def resolve(what: str, name: str, builtin: Mapping[str, Any]) -> Any:
    """Find the object that a pipeline names.

    Parameters
    ----------
    what
        What is looked for, in the words of the pipeline file ("selection").
    name
        A key of `builtin`, or ``module:object``.
    builtin
        What tailshard brings along.

    Raises
    ------
    ConfigError
        There is no such object.
    """
    if name in builtin:
        return builtin[name]
    module_name, colon, attribute = name.partition(":")
    if not colon:
        raise ConfigError(
            f"there is no {what} called '{name}'; use one of {', '.join(builtin)}, "
            "or 'module:object' for one of your own"
        )
    try:
        return getattr(importlib.import_module(module_name), attribute)
    except ImportError as error:
        raise ConfigError(
            f"{what} '{name}': cannot import '{module_name}' ({error}); is its folder on PYTHONPATH?"
        ) from error
    except AttributeError as error:
        raise ConfigError(f"{what} '{name}': module '{module_name}' has no '{attribute}'") from error


def source_of(name: str) -> str:
    """Give the source of a ``module:object``, so that its outputs can become stale; empty if built in.

    That is the whole file of the module: an object may be an instance or a partial function, which have
    no source of their own, and what it does may hang on a constant or a helper beside it.

    Raises
    ------
    ConfigError
        There is no such object, or its module has no source file.
    """
    if ":" not in name:
        return ""
    resolve("object", name, {})
    module = sys.modules[name.partition(":")[0]]
    try:
        path = inspect.getsourcefile(module)
    except TypeError:  # a built-in module
        path = None
    if path is None:
        raise ConfigError(
            f"'{name}': module '{module.__name__}' has no source file, so nobody could tell when it changes; "
            "put the object into a .py file"
        )
    try:
        with tokenize.open(path) as file:  # honours the encoding that the file declares
            return file.read()
    except (OSError, SyntaxError, UnicodeDecodeError) as error:
        raise ConfigError(f"'{name}': cannot read its source file {path}: {error}") from error
