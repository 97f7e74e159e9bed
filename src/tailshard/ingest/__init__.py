"""From ROOT ntuples to the shard store: one task reads a partition and fills a slot.

::

    survey   patterns, URLs        -> files, partitions, quarantine
    plan     partitions, catalog   -> slots to fill
    fill     branches of a task    -> one slot of the store
    stage    all of it on a Dask cluster, and the catalog kept true
    normalisation   what was lost of each sample, and what makes up for it

Slots whose key is unchanged stay as they are. The catalog loses a slot before its task starts and gains
it after its last array is written, so that a kill at any moment leaves whole slots only.
"""
