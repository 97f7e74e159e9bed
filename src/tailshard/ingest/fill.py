"""The task: branches of one partition in, one slot of the store out."""

from pathlib import Path

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from ..config import Dataset, Pipeline
from ..events.corrections import correction_factor
from ..events.kinematics import kinematics
from ..events.objects import select_objects
from ..events.selection import select_events
from ..events.weights import event_weight, sample_of
from ..features.blocks import block_from_awkward, pad_objects
from ..features.rmm import islands_from_objects
from ..ntuples.dialects import collision_energy, dialect
from ..store.catalog import CutflowStep, Slot
from ..store.layout import assign_splits
from ..store.write import write_slot
from .plan import SlotTask, geometry_of


def fill_slot(pipeline: Pipeline, dataset: Dataset, store: Path, branches: ak.Array, task: SlotTask) -> Slot:
    """Turn the branches of one partition into one slot of the store.

    Parameters
    ----------
    pipeline, dataset, store
        What the slots of a data set share.
    branches
        Records of shape (entries,), with the branches of the data set's dialect.
    task
        Where they come from and which slot they fill.
    """
    partition = task.partition
    its_dialect = dialect(dataset.dialect)
    selection, features = pipeline.selection, pipeline.features
    counts = features.multiplicities.counts
    events = its_dialect.canonical(branches, dataset.kind, selection)
    weight = event_weight(events, dataset, pipeline.luminosity, pipeline.campaigns)
    sample = sample_of(events, dataset)
    objects = select_objects(events, selection, its_dialect.b_tag_threshold(selection.jets))
    if dataset.kind != "data":
        for correction in pipeline.corrections:
            weight = weight * correction_factor(correction, pipeline.data_root, events, objects)
    keep, cutflow = select_events(events, objects, selection, weight, pipeline.kept_years)

    run, event_number = ak.to_numpy(events.run)[keep], ak.to_numpy(events.event)[keep]
    entry = np.flatnonzero(keep) + partition.start
    split = assign_splits(dataset.identity, run, event_number, entry, pipeline.splits)
    # In the order of the store before anything large is made: the matrices are then written as they are.
    order = np.argsort(split, kind="stable")
    chosen = np.flatnonzero(keep)[order]
    events, objects = events[chosen], type(objects)(*(each[chosen] for each in objects))
    padded, multiplicity = pad_objects(
        ak.to_numpy(events.met),
        ak.to_numpy(events.met_phi),
        [
            block_from_awkward(each)
            for each in (objects.light_jets, objects.b_jets, objects.electrons, objects.muons)
        ],
        counts,
    )
    columns = {
        "rmm": islands_from_objects(
            padded, multiplicity, counts, features.convention, collision_energy(pipeline)
        ),
        "objects": padded,
        "multiplicity": multiplicity,
        "weight": weight[chosen],
        "run": run[order],
        "event_number": event_number[order],
        "entry": entry[order].astype(np.uint64),
        **kinematics(events, objects),
    }
    split = split[order]
    summary = write_slot(store, dataset.channel, task.index, geometry_of(pipeline), columns, split)
    return Slot(
        channel=dataset.channel,
        index=task.index,
        dataset=dataset.identity,
        sample=sample,
        url=partition.url,
        uuid=partition.uuid,
        content=partition.content,
        tree=partition.tree,
        start=partition.start,
        stop=partition.stop,
        key=task.key,
        rows=summary.rows,
        sum_of_weights=summary.sum_of_weights,
        sum_of_squared_weights=summary.sum_of_squared_weights,
        cutflow=tuple(CutflowStep(*step) for step in cutflow),
        runs=_runs(run) if dataset.kind == "data" else (),
        selected=sum(summary.rows),
    )


def _runs(run: NDArray[np.uint64]) -> tuple[tuple[int, int], ...]:
    numbers, counts = np.unique(run, return_counts=True)
    return tuple(zip(numbers.tolist(), counts.tolist(), strict=True))
