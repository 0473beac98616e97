"""`hydra/sweeper=grid`, the default: every combination of the given values, without finished jobs.

Hydra's own BasicSweeper is not used: it composes every job, 0.1 s each, only to validate it, and launches finished
jobs too. Here the jobs that are planned and checked are those that are launched.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from labs.jobs import grid, launchers
from labs.jobs.plan import Job
from labs.jobs.progress import SweepProgress


class GridSweeper(Sweeper):
    """Runs a grid; arguments as in conf/hydra/sweeper/grid.yaml."""

    def __init__(self, params: dict[str, Any] | None, max_batch_size: int | None) -> None:
        self.params, self.max_batch_size = params or {}, max_batch_size

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.config = config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> list[JobReturn]:
        """Plan the jobs, launch the unfinished ones, and print a summary; exit status 1 if any failed."""
        from labs.jobs import sweep

        assert self.config is not None
        assert self.launcher is not None
        jobs: list[Job] = []
        returned: list[JobReturn] = []
        with sweep.stopped_gently(jobs):
            jobs += grid.compose(self.config, grid.overrides(self.params, arguments))
            directory = Path(self.config.hydra.sweep.dir).absolute()
            todo = sweep.prepare(self.config, jobs, directory)
            if todo:
                OmegaConf.save(self.config, directory / "multirun.yaml")
                progress = SweepProgress(jobs, launchers.num_workers(self.config, len(todo)))
                progress.start()
                for batch in self.batches(jobs if grid.are_numbered(self.config) else todo):
                    results = self.launcher.launch([job.overrides for job in batch], initial_job_idx=batch[0].number)
                    returned += results
                    for result in results:
                        _ = result.return_value  # raises what ended the job, unless the job itself failed
                progress.stop()
            if status := sweep.summarize(self.config, jobs, directory):
                sys.exit(status)
        return returned

    def batches(self, jobs: Sequence[Job]) -> Iterator[Sequence[Job]]:
        """The jobs in batches to launch."""
        size = self.max_batch_size or len(jobs)
        return (jobs[start : start + size] for start in range(0, len(jobs), size))
