"""The task: branches of one partition in, one slot of the store out."""

import awkward as ak

from ..events.kinematics import kinematics
from ..events.objects import select_objects
from ..events.selection import select_events
from ..events.weights import event_weight
from ..features.rmm import Block, pad_objects, rmm_from_objects
from ..ntuples.dialects import dialect
from ..store.catalog import Slot
from ..store.layout import assign_splits
from ..store.write import write_slot
from .plan import SlotTask, geometry_of


def fill_slot(branches: ak.Array, task: SlotTask) -> Slot:
    """Turn the branches of one partition into one slot of the store.

    Parameters
    ----------
    branches
        Records of shape (entries,), with the branches of the data set's dialect.
    task
        Where they come from and where they go.
    """
    pipeline, dataset, partition = task.pipeline, task.dataset, task.partition
    its_dialect = dialect(dataset.dialect)
    selection, features = pipeline.selection, pipeline.features
    counts = features.multiplicities.counts
    events = its_dialect.canonical(branches, dataset.kind, selection)
    weight = event_weight(events, dataset, pipeline.luminosity)
    objects = select_objects(events, selection, its_dialect.b_tag_threshold(selection.jets))
    keep, cutflow = select_events(events, objects, selection, weight)

    entry = ak.local_index(branches, axis=0)[keep] + partition.start
    events, weight = events[keep], weight[keep]
    objects = type(objects)(*(each[keep] for each in objects))
    blocks = [
        Block.of(each) for each in (objects.light_jets, objects.b_jets, objects.electrons, objects.muons)
    ]
    padded, multiplicity = pad_objects(events.met, events.met_phi, blocks, counts)
    columns = {
        "rmm": rmm_from_objects(
            padded, multiplicity, counts, features.convention, features.center_of_mass_energy
        ),
        "objects": padded,
        "multiplicity": multiplicity,
        "weight": weight,
        "run": ak.to_numpy(events.run),
        "event_number": ak.to_numpy(events.event),
        "entry": ak.to_numpy(entry),
        **kinematics(events, objects),
    }
    split = assign_splits(
        dataset.identity, columns["run"], columns["event_number"], columns["entry"], pipeline.splits
    )
    summary = write_slot(task.store, dataset.channel, task.index, geometry_of(pipeline), columns, split)
    return Slot(
        channel=dataset.channel,
        index=task.index,
        dataset=dataset.identity,
        url=partition.url,
        uuid=partition.uuid,
        tree=partition.tree,
        start=partition.start,
        stop=partition.stop,
        key=task.key,
        rows=summary.rows,
        sum_of_weights=summary.sum_of_weights,
        sum_of_squared_weights=summary.sum_of_squared_weights,
        cutflow=cutflow,
        selected=sum(summary.rows),
    )
