"""``python -m headstart`` and ``torchrun -m headstart``."""

from __future__ import annotations

import os
import sys

from headstart.errors import HeadstartError


def main() -> None:
    """Run the command line; a user's own mistake gets a message, not a traceback."""
    from headstart.cli import app

    try:
        app()
    except HeadstartError as error:
        print(f"headstart: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The reader has gone (`headstart predict ... | head`); flushing at exit must not fail either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
