"""Loss and accuracy of single runs by epoch, over each other; see `compare`."""

from typing import Any

import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from multirun_analysis import drawing
from multirun_analysis.axes import in_nats
from multirun_analysis.frames import Frames

TITLE = "Training of single runs"
CAPTION = "solid: validation images · dashed: training images"
PANELS = (("loss", "loss (nats)"), ("acc", "accuracy (%)"))
PARTS = (("train", (0, (3, 2)), 0.8), ("val", "-", 1.6))  # the part of the data, its line and its width


def draw(frames: Frames, names: dict[Any, str]) -> Figure:
    """Draw a panel for the loss, on a logarithmic axis, and one for the accuracy.

    Args:
        frames: the runs.
        names: what each run is called in the legend.
    """
    figure, panels = drawing.panels(TITLE, ["runs"], len(PANELS), (4.4, 3.2))
    colours = dict[Any, Any](zip(names, sns.color_palette("colorblind", len(names)), strict=True))
    epochs = frames.epochs[frames.epochs["run"].isin(names)]
    for ax, (quantity, label) in zip(panels[0], PANELS, strict=True):
        columns = [f"{part}_{quantity}" for part, *_ in PARTS]
        foot = drawing.log_axis(ax, epochs[columns].to_numpy()) if quantity == "loss" else 0.0
        for run, own in epochs.groupby("run"):
            for (_, dashes, width), column in zip(PARTS, columns, strict=True):
                values = own.set_index("epoch")[column]
                if quantity == "loss":
                    drawing.curve(ax, values, foot, colours[run], dashes, width)
                else:
                    ax.plot(values.index, values, color=colours[run], linestyle=dashes, linewidth=width)
        if not epochs[columns].notna().to_numpy().any():
            drawing.say(ax, "nothing recorded")
        ax.set(xlabel="epoch", ylabel=label if in_nats(frames.runs) else label.replace(" (nats)", ""))
        drawing.whole_numbers(ax.xaxis)
    handles = [Line2D([], [], color=colours[run], linewidth=1.8, label=name) for run, name in names.items()]
    panels[0][-1].legend(handles=handles, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return drawing.finish(figure, CAPTION, ["runs"])
