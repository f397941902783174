"""`python -m isthmus`: the command line, as torchrun starts it on every process."""

from isthmus.cli import main

if __name__ == "__main__":
    main()
