"""What worker processes of a conversion need besides their work: to end when their parent does."""

import ctypes
import os
import signal
from contextlib import suppress

_PR_SET_PDEATHSIG = 1  # prctl(2), Linux


def end_with_parent(parent: int) -> None:
    """Have this process killed when its parent dies, and leave Ctrl+C to the parent.

    Workers of a parent that was killed would go on, and write into a folder that the next command is writing to.

    Args:
        parent: its process id, told by itself: it may be dead before this process comes to ask.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(OSError, AttributeError):  # another system: there they end with their next task
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before that
        os._exit(1)
