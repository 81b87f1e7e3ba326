"""How a database of an older release becomes one of this release: a file in `versions` for each version of the schema.

Expand, then contract. Nodes that share a Postgres are replaced one after the other, so a version of the schema has to
be one that the release before can work with: a migration only adds what the old release does not notice (tables,
columns with a default, indexes). What is no longer needed is dropped one release after the last one that used it.
`SCHEMA_NEEDS` in registry.storage.metadata.schema names the lowest version whose programs work with the present one;
programs below it are refused at their start. Where a change cannot be made in that way, it is raised, and all nodes
have to stop for the upgrade.

A migration runs inside one transaction, under the lock that keeps other nodes away, and says its version in the table
of properties. It holds the tables as they were then, and never imports registry.storage.metadata.schema.
"""
