"""``python -m s2async``: the same as the ``s2async`` command."""

from s2async.cli import main

if __name__ == "__main__":
    main()
