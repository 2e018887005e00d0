"""What worker processes of a conversion need besides their work: to end when their parent does."""

import ctypes
import os
import signal
from contextlib import suppress

_PR_SET_PDEATHSIG = 1  # prctl(2), Linux
_GRACE_SECONDS = 5


def end_with_parent(parent: int) -> None:
    """Have this process killed when its parent dies, and leave Ctrl+C to the parent, and for a while SIGTERM too.

    Workers of a parent that was killed would go on, and write into a folder that the next command is writing to. Who
    ends a whole group of processes ends the workers with the parent, which is to find them there and let them go; but a
    parent that itself ends one by SIGTERM waits for that.

    Args:
        parent: its process id, told by itself: it may be dead before this process comes to ask.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(_GRACE_SECONDS))
    with suppress(OSError, AttributeError):  # another system: there they end with their next task
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before that
        os._exit(1)
