"""`python -m stvg_core` is the command `stvg`."""

from stvg_core.cli import main

if __name__ == "__main__":
    main()
