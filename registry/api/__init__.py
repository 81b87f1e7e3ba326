"""The administration, as /api/v1 offers it: a table of operations that routes, OpenAPI document and commands share."""
