"""The ports in memory: small enough to be read like a specification, and used by tests in place of mocks."""
