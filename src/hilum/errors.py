"""The one exception whose message is written for the user: the command line prints it without a traceback."""


class HilumError(Exception):
    """Says what was given, what was expected, where, and what to do; one line per problem."""
