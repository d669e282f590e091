"""`python -m vidi`."""

from vidi.cli.app import main

if __name__ == "__main__":
    main()
