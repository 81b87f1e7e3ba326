"""What every adapter of a port has to do, run over all of them."""
