"""Every scheduler of torch moves once an epoch and goes on to the same bits; one of one's own does too."""

import math
from pathlib import Path

import pytest
from breaking_off import resumes
from omegaconf import OmegaConf
from schedulers import ARGUMENTS, OFFERED, Compose, rates, scheduled

from labs.errors import UserError
from labs.jobs import preflight

pytestmark = pytest.mark.usefixtures("every_epoch_is_saved")


@pytest.mark.one_in(9)
@pytest.mark.parametrize("name", OFFERED)
def test_every_scheduler_of_torch(compose_config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    resumes(monkeypatch, scheduled(compose_config, name, **ARGUMENTS.get(name, {})), tmp_path)


def test_a_warm_up_then_a_cosine(compose_config: Compose) -> None:
    cfg = compose_config("scheduler=warmup_cosine", "scheduler.warmup_epochs=2", "trainer.epochs=6", "optimizer.lr=0.1")
    cosine = [0.1 * (1 + math.cos(math.pi * k / 4)) / 2 for k in range(4)]
    assert rates(cfg) == pytest.approx([0.01, 0.055, *cosine])
    without = compose_config("scheduler=warmup_cosine", "scheduler.warmup_epochs=0", "trainer.epochs=6")
    assert rates(without) == rates(compose_config("scheduler=cosine", "trainer.epochs=6"))


def test_nothing_is_scheduled_where_nothing_is_trained(compose_config: Compose) -> None:
    preflight.check_networks([compose_config("scheduler=warmup_cosine", "trainer.epochs=0")])


def test_a_schedule_of_ones_own(compose_config: Compose) -> None:
    cfg = compose_config("trainer.epochs=3", "optimizer.lr=0.4")
    cfg.scheduler = OmegaConf.create({"_target_": "schedulers.Own", "by": 0.5})
    assert rates(cfg) == [0.4, 0.2, 0.1]
    cfg.scheduler = OmegaConf.create({"_target_": "builtins.dict"})
    with pytest.raises(UserError, match=r"^scheduler\._target_=builtins\.dict"):
        rates(cfg)
