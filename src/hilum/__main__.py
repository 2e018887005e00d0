"""`python -m hilum` and the command `hilum`: runs the command line and turns known errors into plain lines."""

import os
import sys
import traceback


def main() -> None:
    """Run the command line; exit code 1 on an error that the user can mend, 130 when interrupted."""
    from hilum.cli import GOES_ON, app
    from hilum.errors import HilumError

    try:
        app()
    except HilumError as error:
        for line in str(error).splitlines():
            print(f"hilum: {line}", file=sys.stderr)  # noqa: T201
        sys.exit(1)
    except KeyboardInterrupt:
        then = "; the same command again goes on" if GOES_ON.intersection(sys.argv[1:2]) else ""
        print(f"hilum: interrupted{then}", file=sys.stderr)  # noqa: T201
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        print(f"hilum: {error.filename or 'a file'}: {error.strerror or error}", file=sys.stderr)  # noqa: T201
        sys.exit(1)
    except Exception as error:  # whatever else: a line instead of a traceback
        if os.environ.get("HILUM_DEBUG"):
            raise
        # Not the message: it may quote what a file or its name says.
        where = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{os.path.basename(where.filename)}, line {where.lineno}"  # noqa: PTH119
        print(f"hilum: {type(error).__name__} in {place}: a bug; HILUM_DEBUG=1 shows more", file=sys.stderr)  # noqa: T201
        sys.exit(1)


if __name__ == "__main__":
    main()
