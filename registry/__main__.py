"""`python -m registry` is the `shoal` command."""

from registry.cli import main

if __name__ == "__main__":
    main()
