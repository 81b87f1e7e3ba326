"""The commands of `shoal` beside `serve`: a module with the options of each, and `run_*` where there is more to do."""
