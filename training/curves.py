"""Draw a run's learning curves."""

from pathlib import Path
from typing import Any

from hilum.files import write_atomically


def draw_curves(log: list[dict[str, Any]], path: Path, *, title: str, score: str) -> None:
    """Training loss and validation score against the epoch, as a PNG; the epoch that was kept is marked."""
    import io

    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.2), layout="constrained")
    loss_axis, score_axis = figure.subplots(1, 2)
    figure.suptitle(title)
    epochs = [line["epoch"] for line in log]
    loss_axis.plot(epochs, [line["train_loss"] for line in log], color="#0072B2", marker=".")
    loss_axis.set(xlabel="epoch", ylabel="training loss")
    scored = [(line["epoch"], line["val_score"]) for line in log if line["val_score"] is not None]
    if scored:
        score_axis.plot(*zip(*scored, strict=True), color="#D55E00", marker=".")
        best = max(scored, key=lambda point: (point[1], point[0]))
        score_axis.axvline(best[0], color="#999999", linestyle=":")
        score_axis.annotate(f"kept: {best[1]:.3f}", best, textcoords="offset points", xytext=(4, -10), fontsize=8)
    score_axis.set(xlabel="epoch", ylabel=f"{score} on val", ylim=(0, None))
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    write_atomically(path, buffer.getvalue())
