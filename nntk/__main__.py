"""`python -m nntk`."""

from nntk.cli import main

if __name__ == "__main__":
    main()
