"""The one exception whose message is written for the user: the command line prints it without a traceback."""

from typing import Final

from hilum.printable import one_line


class HilumError(Exception):
    """Says what was given, what was expected, where, and what to do.

    Args:
        lines: one a problem. Names and values of the user's may stand in them as they are: what a terminal would obey
            is escaped, a line break too, and what is very long is cut.

    Examples:
        >>> import hilum
        >>> try:
        ...     hilum.load("NOTHING")
        ... except hilum.HilumError as error:
        ...     print(error)
        NOTHING: no such run folder; `hilum train CONFIG DATA NOTHING` makes one
    """

    def __init__(self, *lines: str) -> None:
        super().__init__(*map(one_line, lines))

    @property
    def lines(self) -> tuple[str, ...]:
        """One a problem."""
        return self.args

    def __str__(self) -> str:
        return "\n".join(self.args)

    def within(self, where: object) -> "HilumError":
        """The same problems, each with the place before it."""
        return HilumError(*(f"{where}: {line}" for line in self.args))


class PassingError(HilumError):
    """Something could not be done now, and may be another time: the disk, the memory or a limit of the system said no.

    It says nothing of what was given.
    """


NO_MEMORY: Final = "cannot be read: it takes more memory than there is"


def first_line(error: BaseException) -> str:
    """What an exception of another library says, its first line, for a line of ours; its name where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
