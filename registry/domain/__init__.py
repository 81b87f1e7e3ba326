"""What a registry is about: pure values and decisions, no I/O, standard library only."""
