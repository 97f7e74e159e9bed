"""Factors on the weights of simulation, from files in the format of correctionlib."""

import gzip
import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from ..correction import Correction
from ..data_taking import year_of
from ..errors import ConfigError, ProcessingError
from .kinematics import QUANTITIES
from .objects import Objects

if TYPE_CHECKING:
    from correctionlib.highlevel import CompoundCorrection
    from correctionlib.highlevel import Correction as Evaluator

Values = NDArray[Any]

_COLLECTIONS = Objects._fields
_FIELDS: Mapping[str, Callable[[ak.Array], ak.Array]] = {
    "pt": lambda particles: particles.pt,
    "eta": lambda particles: particles.eta,
    "abs_eta": lambda particles: abs(particles.eta),
    "phi": lambda particles: particles.phi,
    "mass": lambda particles: particles.mass,
    "charge": lambda particles: particles.charge,
    "flavour": lambda particles: particles.flavour,
}
_PYTHON_TYPES: Mapping[str, tuple[type, ...]] = {"string": (str,), "int": (int,), "real": (int, float)}
_OF_LEPTONS_ONLY = ("charge", "flavour")
_WHOLE_NUMBERS = ("leptons", "jets", "b_jets", "year", *_OF_LEPTONS_ONLY)


def fingerprint(correction: Correction, data_root: str | None) -> str:
    """Hash of the content of a correction's file, so that outputs made with another are stale.

    Raises
    ------
    ConfigError
        The file cannot be read.
    """
    return sha256(_content(correction, data_root)).hexdigest()[:16]


def check_correction(correction: Correction, data_root: str | None, has_years: bool) -> None:
    """Refuse a correction that cannot be evaluated, before any event is read.

    Parameters
    ----------
    correction, data_root
        Of the pipeline.
    has_years
        Whether the pipeline has campaigns, so that events have a year.

    Raises
    ------
    ConfigError
        The file cannot be read, or does not hold such a correction; its inputs are not those that are
        given; or a quantity is not known or of the wrong type.
    """
    evaluator = _evaluator(correction, data_root)
    needed = {variable.name: variable.type for variable in evaluator.inputs}
    given = {**correction.inputs, **correction.constants}
    if twice := correction.inputs.keys() & correction.constants.keys():
        raise _wrong(correction, f"'{min(twice)}' is given in inputs and in constants; leave one out")
    if given.keys() != needed.keys():
        raise _wrong(
            correction,
            f"it needs the inputs {', '.join(needed) or 'none'}, but inputs and constants give "
            f"{', '.join(given) or 'none'}",
        )
    for name, quantity in correction.inputs.items():
        _check_quantity(correction, name, quantity, needed[name], has_years)
    for name, constant in correction.constants.items():
        if not isinstance(constant, _PYTHON_TYPES[needed[name]]):
            raise _wrong(correction, f"'{name}' is of type {needed[name]}, but the constant is {constant!r}")
    collections = {_collection(quantity) for quantity in correction.inputs.values()} - {None}
    if len(collections) > 1:
        raise _wrong(
            correction,
            f"its inputs are of {' and '.join(sorted(map(str, collections)))}; objects of one kind at a time",
        )


def _check_quantity(correction: Correction, name: str, quantity: str, kind: str, has_years: bool) -> None:
    collection, field = _collection(quantity), quantity.rpartition(".")[2]
    if collection is None:
        known = quantity in QUANTITIES or (quantity == "year" and has_years)
    else:
        is_lepton = collection in ("leptons", "electrons", "muons")
        known = collection in _COLLECTIONS and field in _FIELDS
        known = known and (is_lepton or field not in _OF_LEPTONS_ONLY)
    if not known:
        year = ", year" if has_years else ""
        raise _wrong(
            correction,
            f"'{name}' is mapped to '{quantity}', which is not known; use one of "
            f"{', '.join(QUANTITIES)}{year}, or <objects>.<field> with the objects "
            f"{', '.join(_COLLECTIONS)} and the fields {', '.join(_FIELDS)} (charge and flavour "
            "of leptons only)",
        )
    if kind == "string":
        raise _wrong(correction, f"'{name}' is of type string; give it in constants")
    if kind == "int" and (field if collection else quantity) not in _WHOLE_NUMBERS:
        raise _wrong(correction, f"'{name}' is of type int, but '{quantity}' is no whole number")


def correction_factor(
    correction: Correction, data_root: str | None, events: ak.Array, objects: Objects
) -> NDArray[np.float64]:
    """Evaluate a correction: float64, shape (events,).

    An event in which an input is undefined (the mass of two leptons where there is one) has the
    factor 1, and so has an event without any of the objects.

    Parameters
    ----------
    correction, data_root
        Of the pipeline; `check_correction` has passed.
    events, objects
        Canonical events of simulation and their selected objects.

    Raises
    ------
    ProcessingError
        The correction could not be evaluated, or gave something that is not finite.
    """
    columns = {name: _quantity(quantity, events, objects) for name, quantity in correction.inputs.items()}
    collection = next(
        (objects_of for each in correction.inputs.values() if (objects_of := _collection(each))), None
    )
    if collection is None:
        return _evaluate(correction, data_root, {name: np.asarray(each) for name, each in columns.items()})
    shape = getattr(objects, collection).pt
    flat = {
        name: ak.to_numpy(ak.flatten(ak.broadcast_arrays(column, shape)[0]))
        for name, column in columns.items()
    }
    factors = ak.unflatten(_evaluate(correction, data_root, flat), ak.num(shape))
    return np.asarray(ak.to_numpy(ak.prod(factors, axis=1)), dtype=np.float64)


def _quantity(quantity: str, events: ak.Array, objects: Objects) -> ak.Array:
    collection = _collection(quantity)
    if collection is not None:
        return _FIELDS[quantity.rpartition(".")[2]](getattr(objects, collection))
    if quantity == "year":
        return year_of(ak.to_numpy(events.conditions_run))
    return QUANTITIES[quantity].compute(events, objects)


def _evaluate(
    correction: Correction, data_root: str | None, columns: Mapping[str, Values]
) -> NDArray[np.float64]:
    evaluator = _evaluator(correction, data_root)
    size = len(next(iter(columns.values()), ()))
    defined = np.ones(size, dtype=np.bool_)
    for column in columns.values():
        defined &= ~np.isnan(column)
    factor = np.ones(size)
    if not defined.any():
        return factor
    arguments: list[Any] = []
    for variable in evaluator.inputs:
        if variable.name in columns:
            kind = np.int64 if variable.type == "int" else np.float64
            arguments.append(columns[variable.name][defined].astype(kind))
        else:
            arguments.append(correction.constants[variable.name])
    try:
        factor[defined] = evaluator.evaluate(*arguments)
    except (RuntimeError, IndexError, ValueError) as error:
        raise ProcessingError(
            f"correction '{correction.name}' of {correction.file} cannot be evaluated for some event: "
            f"{error}; if it is a range, let the file clamp what lies outside"
        ) from error
    if not np.isfinite(factor).all():
        first = int(np.flatnonzero(~np.isfinite(factor))[0])
        where = ", ".join(f"{name} = {column[first]:g}" for name, column in columns.items())
        raise ProcessingError(
            f"correction '{correction.name}' of {correction.file} is {factor[first]} for {where}"
        )
    return factor


def _collection(quantity: str) -> str | None:
    """Give the objects that a quantity is a field of; None for a quantity of the event."""
    return quantity.rpartition(".")[0] or None


# -- files ---------------------------------------------------------------------------------------------


def _path(correction: Correction, data_root: str | None) -> Path:
    path = Path(correction.file).expanduser()
    if path.is_absolute():
        return path
    if data_root is not None and "://" not in data_root:
        return (Path(data_root) / path).absolute()
    return path.absolute()


def _content(correction: Correction, data_root: str | None) -> bytes:
    path = _path(correction, data_root)
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    except (OSError, EOFError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ConfigError(
            f"correction '{correction.name}': cannot read {path} ({reason}); corrections.file is a path, "
            "below the data root if it is relative"
        ) from error


def _evaluator(correction: Correction, data_root: str | None) -> "Evaluator | CompoundCorrection":
    text = _content(correction, data_root)
    try:
        corrections = _corrections(text)
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise _wrong(
            correction, f"the file is no set of corrections in the correctionlib format: {reason}"
        ) from error
    if correction.name not in corrections:
        raise _wrong(
            correction, f"there is none of that name; the file holds {', '.join(sorted(corrections))}"
        )
    return corrections[correction.name]


@lru_cache(maxsize=16)
def _corrections(text: bytes) -> Mapping[str, "Evaluator | CompoundCorrection"]:
    from correctionlib import CorrectionSet

    json.loads(text)  # says where a file is not JSON, which correctionlib's own parser does not
    corrections = CorrectionSet.from_string(text.decode())
    return {**corrections, **corrections.compound}


def _wrong(correction: Correction, what: str) -> ConfigError:
    return ConfigError(f"correction '{correction.name}' of {correction.file}: {what}")
