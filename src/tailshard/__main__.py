"""``python -m tailshard``: the command line, with the Python that runs already."""

from .cli import main

if __name__ == "__main__":
    main(prog_name="tailshard")
