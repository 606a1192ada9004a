"""python -m genarium: the command line, which is also the batch interface."""

from genarium.cli import app

if __name__ == "__main__":
    app(prog_name="python -m genarium")
