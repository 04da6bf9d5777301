"""The console, as ``python -m filer``."""

from filer.shell.__main__ import program

if __name__ == "__main__":
    program()
