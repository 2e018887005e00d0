"""The command line: one module a command, in `commands/`.

Whatever is heavy is imported inside the commands, so that `hilum --help` is quick.
"""

from cyclopts import App

from hilum import __version__
from hilum.commands.ablate import ablate
from hilum.commands.backends import backends
from hilum.commands.benchmark import benchmark
from hilum.commands.config import config
from hilum.commands.convert import convert
from hilum.commands.evaluate import evaluate
from hilum.commands.explore import explore
from hilum.commands.export import export
from hilum.commands.pacs import pacs
from hilum.commands.predict import predict
from hilum.commands.sample import sample
from hilum.commands.split import split
from hilum.commands.submit import submit
from hilum.commands.train import train
from hilum.commands.tune import tune

app = App(
    name="hilum",
    version=__version__,
    help="Train and compare detectors of lung opacity on chest radiographs. Research software, not a medical device.",
    suppress_keyboard_interrupt=False,  # main says what to do then
)
for command in (
    sample,
    convert,
    split,
    explore,
    train,
    tune,
    predict,
    evaluate,
    benchmark,
    ablate,
    submit,
    export,
    pacs,
    backends,
    config,
):
    app.command(command)

# Interrupted, the same command again takes up what these had done.
GOES_ON = {"convert", "train", "predict", "benchmark", "pacs"}
