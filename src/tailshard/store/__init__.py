"""The sharded event store: layout, writing, catalog, reading and the stream of batches."""
