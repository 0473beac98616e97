"""Composed configurations to change, and the line with which one is refused."""

import pytest
from compositions import composed
from omegaconf import DictConfig, OmegaConf

from labs import config_checks
from labs.errors import UserError

FOLDER = "dataset.folder=pictures"
NEEDED = {  # by keys that contradict the defaults
    "trainer.steps": ["trainer.epochs=null", "trainer.steps=1"],
    "trainer.test_weights": ["trainer.patience=null"],
    "model.branch_scale": ["model.residual=true"],
}


def base_for(key: str) -> DictConfig:
    """A good configuration that holds `key`."""
    choices = [
        NEEDED.get(key, []),
        ["model=cnn", "optimizer=sgd", "scheduler=cosine", "dataset=imagefolder", FOLDER, "logger=all"],
        ["model=resnet", "scheduler=constant"],
        ["scheduler=warmup_cosine"],
        ["scheduler=multistep_steps", "model=resnet"],
        ["dataset=any/target", "dataset._target_=a.B"],
    ]
    for overrides in choices:
        group, _, leaf = key.rpartition(".")
        cfg = composed(*overrides)
        if leaf in (OmegaConf.select(cfg, group) if group else cfg):
            return cfg
    raise AssertionError(f"no configuration holds {key}")


def refusal(cfg: DictConfig) -> str:
    with pytest.raises(UserError) as caught:
        config_checks.check(cfg)
    return str(caught.value)
