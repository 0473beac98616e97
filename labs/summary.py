"""The command that prints a network's summary: its layers, their shapes, parameters and operations.

    python -m labs.summary model=cnn dataset=cifar10 model.residual=true
    python -m labs.summary model=resnet dataset=cifar10 model.residual=true --draw network.svg     # also as a picture

The summary itself is computed in `labs/models/summary.py`, the picture drawn in `labs/models/drawing.py`. No image is read.
"""

from labs import memory
from labs.errors import UserError, one_line_errors

if __name__ == "__main__":
    with one_line_errors():
        memory.refuse_low_limit()

from hydra import compose, initialize_config_dir
from torch import nn

import argparse
from pathlib import Path

import terminal
from labs import cells, config, config_checks
from labs.data import datasets
from labs.models.build import build_model
from labs.models.summary import summarize
from labs.places import CONF


FORMATS = (".svg", ".png", ".pdf")


def main() -> None:
    """Print the summary of the configuration that the command line composes, and draw the network if asked to."""
    parser = argparse.ArgumentParser(
        prog="python -m labs.summary", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="as for train.py")
    parser.add_argument("--draw", type=Path, metavar="FILE", help=f"where to draw the network: {', '.join(FORMATS)}")
    options = parser.parse_intermixed_args()
    if options.draw and options.draw.suffix not in FORMATS:
        raise UserError(f"--draw {options.draw}: must end in {', '.join(FORMATS)}")
    config.register()
    cells.register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", overrides=options.overrides)
    config_checks.check(cfg)
    model, shape = build_model(cfg, cfg.seed), datasets.image_shape(cfg.dataset)
    print(summarize(model, shape, cfg.trainer.batch_size).text, end="")
    if options.draw:
        draw_to(options.draw, model, shape, cells.name_of(cells.resolved(cfg)).rpartition("-")[0])


def draw_to(path: Path, model: nn.Module, shape: tuple[int, int, int], title: str) -> None:
    """Write the picture of a network, and say so."""
    from labs.models.drawing import draw  # which imports Matplotlib

    try:
        draw(model, shape, title).savefig(path, dpi=150)
    except ValueError as error:
        raise UserError(f"--draw {path}: {error}") from error
    except OSError as error:
        raise UserError(f"--draw {path}: cannot be written ({error.strerror})") from error
    print(f"drawn: {path}")


if __name__ == "__main__":
    with terminal.lasting_output(), one_line_errors():
        main()
