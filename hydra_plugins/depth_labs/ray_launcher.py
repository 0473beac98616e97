"""`hydra/launcher=ray`: every job of a sweep is a Ray task, on this machine or on a Ray cluster.

hydra-ray-launcher 1.2.2 is not used: it needs cloudpickle below 3 where joblib 1.6 needs 3, so that pip cannot install both,
and one dead worker ends its sweep.
"""

import logging
import math
import os
from collections.abc import Sequence
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, configure_log, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from labs.errors import UserError

log = logging.getLogger(__name__)
OBJECT_STORE_BYTES = 100_000_000  # of a local cluster: only configurations are sent; Ray would take 30 % of memory


class RayLauncher(Launcher):
    """Runs jobs as Ray tasks; arguments as in conf/hydra/launcher/ray.yaml."""

    def __init__(self, address: str, num_cpus: float, num_gpus: float, max_retries: int) -> None:
        self.address = address
        self.options: dict[str, Any] = {"num_cpus": num_cpus, "num_gpus": num_gpus, "max_retries": max_retries}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the jobs and wait for all of them. One whose process dies for good returns NaN, and the others continue."""
        import ray

        setup_globals()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        if not ray.is_initialized():  # a search launches many times
            connect(self.address)
        task = ray.remote(**self.options)(run_task)
        common = (os.getcwd(), self.hydra_context, self.task_function, self.config, Singleton.get_state())
        running = [task.remote(*common, list(o), number) for number, o in enumerate(job_overrides, initial_job_idx)]
        returns = []
        for reference, overrides in zip(running, job_overrides, strict=True):
            try:
                returns.append(ray.get(reference))
            except ray.exceptions.RayError as error:
                log.warning("%s: the task died: %s", " ".join(overrides), str(error).strip().splitlines()[0])
                died = JobReturn(overrides=overrides, status=JobStatus.COMPLETED)
                died.return_value = math.nan
                returns.append(died)
        return returns


def connect(address: str) -> None:
    """Join the Ray cluster at this address, or start a local one that ends with this process.

    Raises:
        UserError: if there is no cluster.
    """
    import ray

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anyone
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")  # num_gpus=0 hides the GPUs; unset, Ray warns
    local: dict[str, Any] = (
        {"include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES} if address == "local" else {}
    )
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING, **local)
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"hydra.launcher.address={address}: {reason}; an address is local, auto or the host:port of a cluster"
        ) from error


def run_task(
    directory: str, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig, singletons: Any,
    overrides: list[str], number: int,
) -> JobReturn:  # fmt: skip
    """Run one job in a Ray worker. `hydra.job.id` says on which node."""
    import ray

    os.chdir(directory)  # paths are relative to where the sweep was started
    setup_globals()
    Singleton.set_state(singletons)
    job = hydra_context.config_loader.load_sweep_config(config, overrides)
    with open_dict(job):
        job.hydra.job.id, job.hydra.job.num = f"{ray.get_runtime_context().get_node_id()}_{number}", number
    HydraConfig.instance().set_config(job)
    return run_job(
        hydra_context=hydra_context, task_function=task_function, config=job,
        job_dir_key="hydra.sweep.dir", job_subdir_key="hydra.sweep.subdir",
    )  # fmt: skip
