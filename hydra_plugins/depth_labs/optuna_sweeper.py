"""`hydra/sweeper=optuna`: Optuna proposes values to maximize the mean validation accuracy, and the launcher runs the jobs.

hydra-optuna-sweeper 1.3.0 is not used: it needs Optuna 2, and a single diverged trial (NaN) ends its sweep with an exception.
"""

import math
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from labs.errors import UserError, one_line
from labs.files import write_json
from labs.jobs import grid, plan
from labs.jobs.overrides import as_typed
from labs.jobs.rerun import shown


class OptunaSweeper(Sweeper):
    """Searches with Optuna's TPE; arguments as in conf/hydra/sweeper/optuna.yaml."""

    def __init__(self, n_trials: int, n_jobs: int, seed: int, params: dict[str, Any]) -> None:
        self.n_trials, self.n_jobs, self.seed, self.params = n_trials, n_jobs, seed, params

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.config, self.loader = config, hydra_context.config_loader
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        """Run the trials, n_jobs at a time, with one line each; then print the best and what failed."""
        import optuna

        from labs.jobs.sweep import stopped_gently, summarize

        assert self.config is not None
        assert self.launcher is not None
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        overrides = as_typed([f"{key}={value}" for key, value in self.params.items()]) + arguments
        fixed, space = search_space(OverridesParser.create(config_loader=self.loader).parse_overrides(overrides))
        sampler = optuna.samplers.TPESampler(seed=self.seed, constant_liar=self.n_jobs > 1)
        study = optuna.create_study(direction="maximize", sampler=sampler)
        directory, command = Path(self.config.hydra.sweep.dir).absolute(), shlex.join(["python", *sys.argv])
        jobs: list[plan.Job] = []
        record: list[dict[str, Any]] = []
        print(one_line(f"{shown(directory)}: a search of {self.n_trials} trials over {', '.join(space)}"), flush=True)
        with stopped_gently(jobs):
            while len(jobs) < self.n_trials:
                trials = [study.ask(space) for _ in range(min(self.n_jobs, self.n_trials - len(jobs)))]
                proposed = [[f"{key}={value}" for key, value in trial.params.items()] for trial in trials]
                batch = grid.compose(self.config, [fixed + values for values in proposed], first=len(jobs))
                jobs += batch
                plan.write(directory, self.config.study, command, jobs)
                returns = self.launcher.launch([job.overrides for job in batch], initial_job_idx=len(jobs) - len(batch))
                for trial, job, values, returned in zip(trials, batch, proposed, returns, strict=True):
                    value = float(returned.return_value)
                    found = not math.isnan(value)
                    # A trial without a value counts as worse than any with one: what diverges is not proposed again.
                    study.tell(trial, value if found else None, state=None if found else optuna.trial.TrialState.PRUNED)
                    record.append({"overrides": values, "val_acc": value if found else None, "dir": job.cell.name})
                    outcome = f"validation accuracy {value:6.2f} %" if found else job.status()
                    print(one_line(f"[{len(record)}/{self.n_trials}] {' '.join(values)}  {outcome}"), flush=True)
                write_json(directory / "search.json", {"command": command, "best": best(record), "trials": record})
        if (winner := best(record)) is not None:
            print(f"best  {' '.join(winner['overrides'])}  validation accuracy {winner['val_acc']:6.2f} %  in {winner['dir']}")
        if status := summarize(self.config, jobs, directory):
            sys.exit(status)


def search_space(overrides: Sequence[Override]) -> tuple[list[str], dict[str, Any]]:
    """The fixed overrides, and the distribution that Optuna samples for each other key.

    `interval(a,b)` is any number from a to b (an integer where both are), on a logarithmic scale with `tag(log,interval(a,b))`;
    `a,b,c` and `range(…)` are choices.

    Raises:
        UserError: if there is nothing to search, or seeds are.
    """
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    fixed: list[str] = []
    space: dict[str, Any] = {}
    for override in overrides:
        key = override.get_key_element()
        if not override.is_sweep_override():
            fixed.append(str(override.input_line))
        elif key in ("seed", "replicas"):
            raise UserError(f"{override.input_line}: is not for a search; replicas=3 makes it compare means over three seeds")
        elif override.is_interval_sweep():
            interval: Any = override.value()
            low, high = interval.start, interval.end
            kind = IntDistribution if isinstance(low, int) and isinstance(high, int) else FloatDistribution
            try:
                space[key] = kind(low, high, log="log" in interval.tags)
            except ValueError as error:
                raise UserError(f"{override.input_line}: {error}") from error
        else:
            space[key] = CategoricalDistribution(list(override.sweep_string_iterator()))
    if not space:
        raise UserError(
            "hydra/sweeper=optuna: there is nothing to search; for example optimizer.lr='tag(log,interval(1e-4,0.1))'"
        )
    return fixed, space


def best(record: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The first of the trials with the highest validation accuracy; None if none has one."""
    return max((trial for trial in record if trial["val_acc"] is not None), key=lambda trial: trial["val_acc"], default=None)
