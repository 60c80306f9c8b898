"""Run the command line as ``python -m vna``."""

from vna.cli import main

if __name__ == "__main__":
    main()
