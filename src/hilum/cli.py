"""The command line: one module a command, in `commands/`.

Whatever is heavy is imported inside the commands, so that `hilum --help` is quick.
"""

import re
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import wraps
from pathlib import Path
from typing import Annotated

from cyclopts import App, Group, Parameter

from hilum import __version__
from hilum.commands.ablate import ablate
from hilum.commands.backends import backends
from hilum.commands.benchmark import benchmark, show_benchmark
from hilum.commands.card import card
from hilum.commands.config import config
from hilum.commands.convert import convert, show_conversion
from hilum.commands.evaluate import evaluate, show_evaluation
from hilum.commands.explore import explore
from hilum.commands.export import export
from hilum.commands.options import AnyPath
from hilum.commands.pacs import pacs
from hilum.commands.pick import pick
from hilum.commands.predict import predict
from hilum.commands.push import push
from hilum.commands.relabel import relabel
from hilum.commands.sample import sample
from hilum.commands.split import show_splits, split
from hilum.commands.submit import submit
from hilum.commands.train import show_run, train
from hilum.commands.tune import show_tuning, tune
from hilum.errors import HilumError
from hilum.private_libraries import environment_variable
from hilum.system import DEVICE
from hilum.talk import talking

app = App(
    name="hilum",
    version=__version__,
    help="Train and compare detectors of lung opacity on chest radiographs. Research software, not a medical device.",
    suppress_keyboard_interrupt=False,  # main says what to do then
)
# The commands in the order of the work, by what they are for; a command's help ends with what follows it.
WORK: dict[str, dict[Callable[..., object], str]] = {
    "Data": {
        sample: "hilum convert OUT DATA",
        convert: "hilum explore DATA, then hilum train CONFIG DATA RUN",
        explore: "hilum split DATA NAME, where it says that the split leaks; else hilum train CONFIG DATA RUN",
        split: "hilum train CONFIG DATA/splits/NAME RUN",
        pick: "label the pictures in CVAT or Label Studio, then hilum relabel DATA LABELS OUT",
        relabel: "hilum explore OUT, then hilum train CONFIG OUT RUN",
    },
    "Detectors": {
        backends: "pip install what is missing, then hilum config",
        config: "hilum train CONFIG DATA RUN",
        train: "hilum tune RUN DATA, or at once hilum predict RUN DATA PREDICTIONS",
        tune: "hilum predict RUN DATA PREDICTIONS",
        predict: "hilum evaluate PREDICTIONS DATA, where there are labels; else look at PREDICTIONS/worklist.html",
    },
    "Comparison": {
        evaluate: "hilum benchmark DATA CONFIG RUN, to put it beside others",
        benchmark: "hilum ablate RUN DATA for a composed run, hilum export RUN --format openvino for a CPU",
        ablate: "hilum export RUN --format openvino",
        submit: "upload the file to Kaggle",
    },
    "Use and publish": {
        export: "hilum predict EXPORTED IMAGES PREDICTIONS",
        card: "hilum push RUN OWNER/NAME",
        push: "hilum predict hf://OWNER/NAME@COMMIT IMAGES PREDICTIONS",
        pacs: "hilum explore DATA on what was received, and labels by hilum pick",
    },
}
# What the functions find is Python's result; here it is printed, by what knows the words that were given.
SHOWN: dict[Callable[..., object], Callable[..., None]] = {
    convert: show_conversion,
    split: show_splits,
    train: show_run,
    tune: show_tuning,
    evaluate: show_evaluation,
    benchmark: show_benchmark,
}
_PATHS: dict[object, object] = {AnyPath: Path, AnyPath | None: Path | None}


def _printing(command: Callable[..., object], show: Callable[..., None]) -> Callable[..., None]:
    @wraps(command)
    def printing(*words: object, **options: object) -> None:
        show(command(*words, **options), *words, **options)

    # A word becomes a path where Python may give text; what is found is of a type that only the command imports.
    takes = {name: its for name, its in command.__annotations__.items() if name != "return"}
    printing.__annotations__ = {name: _PATHS.get(its, its) for name, its in takes.items()}
    return printing


for place, (purpose, commands) in enumerate(WORK.items()):
    group = Group(purpose, sort_key=place)
    for number, (command, following) in enumerate(commands.items()):
        its = _printing(command, SHOWN[command]) if command in SHOWN else command
        app.command(its, group=group, sort_key=number, help_epilogue=f"Next: {following}.")

# These only read a run, which may then be one of the hub.
READ_RUNS = {"predict", "evaluate", "benchmark", "ablate", "submit", "pick", "pacs"}
# Interrupted, the same command again takes up what these had done.
GOES_ON = {"convert", "train", "predict", "benchmark", "pacs"}


app.meta.suppress_keyboard_interrupt = False
app.meta.group_parameters = app["--help"].group = app["--version"].group = Group("Options", sort_key=len(WORK))


@app.meta.default
def _with_options(
    *words: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    verbose: Annotated[bool, Parameter(name=["--verbose", "-v"], negative=())] = False,
    quiet: Annotated[bool, Parameter(name=["--quiet", "-q"], negative=())] = False,
    log_file: Path | None = None,
    device: str | None = None,
) -> int | None:
    """Take the options of all commands, and call the command; its exit code, where it gives one.

    Parameters
    ----------
    words
        The command and what it takes.
    verbose
        Say more on the way.
    quiet
        Say nothing on the way but what is wrong.
    log_file
        Append what is said on the way to this file, with the time.
    device
        Compute on this one: cpu, cuda, cuda:1 or mps; by default a GPU where there is one.
    """
    with ExitStack() as stack:
        if device is not None:
            if not re.fullmatch(r"cpu|mps|cuda(:[0-9]{1,3})?", device):
                raise HilumError(f"--device: expected cpu, cuda, cuda:1 or mps, not '{device}'")
            stack.enter_context(environment_variable(DEVICE, device))
        stack.enter_context(talking(verbose=verbose, quiet=quiet, file=log_file))
        code: int | None = app(_with_fetched(words), exit_on_error=False, print_error=False)
    return code


def _with_fetched(words: Sequence[str]) -> Sequence[str]:
    """The words with folders in the place of addresses of the hub."""
    if not any(word.startswith("hf://") for word in words):
        return words
    from hilum.hub import fetched

    if words[0] not in READ_RUNS:
        those = ", ".join(sorted(READ_RUNS))
        raise HilumError(f"hf://: `hilum {words[0]}` takes a folder of your own; runs of the hub go with {those}")
    return [str(fetched(word)) if word.startswith("hf://") else word for word in words]


def run(words: Sequence[str]) -> None:
    """Run a command line; errors are raised."""
    app.meta(words, exit_on_error=False, print_error=False)
