"""What clients do to a registry, at a cost that is small beside the registry's own."""
