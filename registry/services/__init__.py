"""Use cases: what a registry does, in terms of the ports."""
