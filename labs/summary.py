"""The command that prints a network's summary: its layers, their shapes, parameters and operations.

    python -m labs.summary model=cnn dataset=cifar10 model.residual=true

The summary itself is computed in `labs/models/summary.py`. No image is read.
"""

import sys

from labs import memory
from labs.errors import one_line_errors

if __name__ == "__main__":
    with one_line_errors():
        memory.refuse_low_limit()

from pathlib import Path

from hydra import compose, initialize_config_dir

import terminal
from labs import cells, config, config_checks
from labs.data import datasets
from labs.models.build import build_model
from labs.models.summary import summarize


def main() -> None:
    """Print the summary of the configuration that the command line composes."""
    config.register()
    cells.register()
    with initialize_config_dir(str(Path(__file__).parents[1] / "conf"), version_base="1.3"):
        cfg = compose("config", overrides=sys.argv[1:])
    config_checks.check(cfg)
    model = build_model(cfg, cfg.seed)
    print(summarize(model, datasets.image_shape(cfg.dataset), cfg.trainer.batch_size).text, end="")


if __name__ == "__main__":
    with terminal.lasting_output(), one_line_errors():
        main()
