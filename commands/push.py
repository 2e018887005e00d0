"""`hilum push`: send a run to the Hugging Face hub."""

import re
from pathlib import Path

from hilum.commands.arguments import RUN, check_order
from hilum.commands.terminal import complain, say


def push(run: Path, repository: str, *, public: bool = False, yes: bool = False) -> int | None:
    """Send a run's config, weights and records, and its card, to the Hugging Face hub: nothing else in its folder.

    Without --yes it only says what would be sent. Who you are the hub's own `hf auth login` or HF_TOKEN says.

    Parameters
    ----------
    run
        Run folder, of a finished training; its card is written where it has none.
    repository
        OWNER/NAME at the hub; made where it is not there.
    public
        Let everybody read it, where the repository is made by this.
    yes
        Send.
    """
    from hilum.documents import MAX_YAML_BYTES, read_text
    from hilum.files import write_atomically
    from hilum.hub import CARD, check_repository, files_to_send
    from hilum.hub import push as send
    from hilum.pages.run_card import run_card
    from hilum.run import check_run

    check_order("push", (RUN, run))
    check_repository(repository)
    check_run(run)
    if not (run / CARD).is_file():
        write_atomically(run / CARD, run_card(run))
    names = files_to_send(run)
    say(f"{run} to {repository}, {'public' if public else 'private'}:")
    say(*(f"  {name}  {(run / name).stat().st_size:,} bytes" for name in names))
    for name in (name for name in names if name.endswith(".yaml")):
        words = read_text(run / name, MAX_YAML_BYTES).split()
        places = [word for word in words if re.match(r"['\"]?(/|~|\.\.?/|[A-Za-z]:\\)", word)]
        complain(*(f"{run / name}: names a place of this machine, {place}" for place in places))
    if not yes:
        complain("nothing was sent; read README.md and config.yaml, and say --yes")
        return 1
    say(send(run, repository, public=public))
    return None
