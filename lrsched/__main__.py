"""`python -m lrsched`, and the `lrsched` command."""

import sys


def main() -> None:
    """Run the command line; without its libraries, say how to install them."""
    try:
        from lrsched.cli import app
    except ImportError as error:
        sys.exit(f'the lrsched command needs {error.name}: pip install "onecycle-lr[cli]"')
    app()


if __name__ == "__main__":
    main()
