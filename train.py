"""Train one configuration, or sweep many.

python train.py model=mlp model.residual=true
python train.py -m model.depth=5,10,20 model.residual=true,false study=my_study
"""

import sys

import hydra
from omegaconf import DictConfig

import terminal
from labs import cells, config
from labs.errors import one_line_errors, take_over_from_hydra
from labs.jobs import job
from labs.jobs.overrides import as_typed

config.register()
cells.register()


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg: DictConfig) -> float:
    """Run one job, and return the objective of a Hydra sweeper."""
    return job.run(cfg)


if __name__ == "__main__":
    with terminal.lasting_output(), one_line_errors():
        take_over_from_hydra()
        sys.argv[1:] = as_typed(sys.argv[1:])
        main()
