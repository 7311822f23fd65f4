"""``python -m s2async``: the same as the ``s2async`` command."""

import gc


def main() -> None:
    """Run the command line."""
    gc.disable()  # importing makes many objects and hardly any garbage: looking for it is a seventh of the start
    from s2async import cli

    gc.enable()
    cli.main()


if __name__ == "__main__":
    main()
