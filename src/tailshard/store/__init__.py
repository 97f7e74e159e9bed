"""The sharded event store: a Zarr group, one slot for each partition, a catalog that says what is whole.

::

    layout    arrays, slots, splits and the bytes they take      catalog   which slots are whole, with sums
    cells     statistics of matrices that can be merged          write     one partition -> one slot
    order     the order of events                                read      rows and merged statistics
    verify    is everything as the catalog says?                 stream    batches in the order of events
"""
