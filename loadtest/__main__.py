"""Runs the command line: `python -m loadtest --help`."""

from loadtest.cli import app

if __name__ == "__main__":
    app(prog_name="python -m loadtest")
