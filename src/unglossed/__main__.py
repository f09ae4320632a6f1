"""`python -m unglossed`: the same as the command `unglossed`."""

from unglossed.cli import main

if __name__ == "__main__":
    main()
