"""What a configuration may hold: each key, what keys ask of each other, and every file of conf/."""

import copy
from collections.abc import Callable

import pytest
from composing import FOLDER, composed, refusal
from compositions import CONF
from omegaconf import DictConfig, OmegaConf

from labs import config, config_checks

# ── keys ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("override", "text"),
    [
        ("+foo=1", "foo: nothing reads this key; there is model, dataset, optimizer, scheduler, loss, trainer, diagnostics, "
                   "logger, metrics, study, seed, replicas, device, resume, plan, analysis"),
        ("+analysis.foo=1", "analysis.foo: nothing reads this key; there is x, hue, facets, metric"),
        ("+trainer.foo=1", "trainer.foo: nothing reads this key; there is epochs, steps, steps_per_epoch, batch_size, "
                           "eval_batch_size, patience, test_weights, save_every, log_every, clip_grad_norm, "
                           "decay_norm_and_bias, precision, engine, num_threads, "
                           "cuda_graphs, diagnostics, diagnostics_every"),
        ("+dataset.folder=here", "dataset.folder: nothing reads this key; there is name, data_dir, download, val_size, "
                                 "split_seed, image_size, normalize, augment, crop_padding, horizontal_flip"),
        ("dataset=imagefolder", "dataset.folder has no value: give it one, dataset.folder=…"),
        ("model.depth=???", "model.depth has no value: give it one, model.depth=…"),
        ("seed=???", "seed has no value: give it one, seed=…"),
        ("~seed", "seed: cannot be removed; give it another value, seed=…"),
    ],
)  # fmt: skip
def test_a_key_nobody_reads_or_without_a_value_is_refused(override: str, text: str) -> None:
    assert refusal(composed(override)) == text


def test_a_group_left_out_is_named() -> None:
    cfg = composed()
    cfg.logger = "???"
    assert refusal(cfg) == "logger has no value: give it one, logger=…"
    cfg.logger = 3
    assert refusal(cfg) == "logger=3: must be one of the files in conf/logger, without .yaml"


def test_every_group_is_checked_for_unknown_keys_unless_its_target_does() -> None:
    for group in config.GROUPS:
        cfg = composed()
        OmegaConf.update(cfg, f"{group}.nobody_reads_this", 1, force_add=True)
        if "_target_" in cfg[group]:
            config_checks.check(cfg)
        else:
            assert refusal(cfg).startswith(f"{group}.nobody_reads_this: nothing reads this key")


# ── across keys ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_batchnorm_needs_two_images(model: str) -> None:
    overrides = (f"model={model}", "trainer.batch_size=1")
    assert refusal(composed(*overrides)) == "trainer.batch_size=1: BatchNorm needs at least 2 images a batch"
    config_checks.check(composed(*overrides, "model.name=mine", "model._target_=my.Model"))


def test_ranges_hold_for_what_is_ours_or_torchs_and_for_nothing_else() -> None:
    cfg = composed()
    mine = {"_target_": "my.Model", "hidden": [16, 8], "depth": "deep", "filters": 3, "residual": True, "kernel_size": 2}
    cfg.model = OmegaConf.create(mine)
    cfg.optimizer = OmegaConf.create({"_target_": "my.Optimizer", "lr": "auto", "momentum": 2})
    cfg.scheduler = OmegaConf.create({"_target_": "my.Scheduler", "factor": 10, "min_lr": 5})
    config_checks.check(cfg)
    cfg.trainer.epochs = -1
    assert refusal(cfg).startswith("trainer.epochs=-1: must be")


def test_a_schedule_must_be_able_to_lower_the_rate() -> None:
    assert refusal(composed("scheduler.factor=1")) == (
        "scheduler.factor=1.0: must be below 1 to reduce anything; scheduler=constant keeps the rate"
    )
    assert refusal(composed("scheduler.min_lr=0.01")) == "scheduler.min_lr=0.01: must be at most optimizer.lr (0.001)"
    assert refusal(composed("scheduler=cosine", "scheduler.eta_min=1")) == (
        "scheduler.eta_min=1.0: must be at most optimizer.lr (0.001)"
    )
    config_checks.check(composed("scheduler.min_lr=0.001"))


FALLING = ("model=cnn", "model.filters=[32,64,32]")


STEPS = ("trainer.epochs=null", "trainer.steps=100")


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        (["trainer.steps=100"], "trainer.steps=100: takes the place of trainer.epochs (60); set trainer.epochs=null"),
        (["trainer.epochs=null"], "trainer.epochs=null: give trainer.steps in its place, or a number of epochs"),
        ([*STEPS, "scheduler=cosine"],
         "scheduler.T_max=null: is trainer.epochs, which trainer.steps=100 replaces; "
         "set '+scheduler.interval=step' 'scheduler.T_max=${trainer.steps}'"),
        (["scheduler=cosine", "scheduler.T_max=null"],
         "scheduler.T_max=null: must be an integer from 1 to 2147483647, or 0 with trainer.epochs=0"),
        ([*STEPS, "scheduler=warmup_cosine"],
         "trainer.steps=100: scheduler=warmup_cosine counts epochs; scheduler=multistep_steps counts steps"),
        (["scheduler=warmup_cosine", "+scheduler.interval=step"],
         "scheduler.interval=step: scheduler=warmup_cosine counts epochs; scheduler=multistep_steps counts steps"),
        (["trainer.test_weights=last"],
         "trainer.test_weights=last: trainer.patience=10 waits for a best epoch; set trainer.patience=null"),
    ],
)  # fmt: skip
def test_a_run_is_as_long_as_one_setting_says(overrides: list[str], text: str) -> None:
    assert refusal(composed(*overrides)) == text


@pytest.mark.parametrize("overrides", [[], ["scheduler=constant"], ["scheduler=multistep_steps"],
    ["scheduler=cosine", "+scheduler.interval=step", "scheduler.T_max=${trainer.steps}"]])  # fmt: skip
def test_a_run_may_be_given_in_steps(overrides: list[str]) -> None:
    config_checks.check(composed(*STEPS, *overrides))


def test_an_identity_shortcut_cannot_drop_channels() -> None:
    assert refusal(composed(*FALLING, "model.residual=true")) == (
        "model.filters=[32,64,32]: a parameter-free shortcut can add channels, not drop them; let them grow, "
        "or set model.shortcut=projection"
    )


@pytest.mark.parametrize(
    "overrides",
    [
        FALLING,
        (*FALLING, "model.residual=true", "model.shortcut=projection"),
        ("model=cnn", "model.filters=[32,32,64]", "model.residual=true"),
    ],
)
def test_other_falls_and_rises_pass(overrides: tuple[str, ...]) -> None:
    config_checks.check(composed(*overrides))


def test_one_width_or_a_list_of_widths() -> None:
    refused = "model.width=9: model.widths=[8,8] is given too; one of them must be null"
    assert refusal(composed("model.width=9", "model.widths=[8,8]")) == refused


def test_one_image_a_batch_is_enough_for_other_norms() -> None:
    for norm in ("layer", "none"):
        config_checks.check(composed(f"model.norm={norm}", "trainer.batch_size=1"))


def test_a_scale_needs_skips_and_a_bias_needs_norms() -> None:
    line = "multiplies what a block adds to a skip; add model.residual=true"
    for model, scale in (("mlp", "0.5"), ("cnn", "depth"), ("mlp", "learned"), ("mlp", "0")):
        overrides = (f"model={model}", f"model.branch_scale={scale}")
        shown = "0.0" if scale == "0" else scale
        assert refusal(composed(*overrides)) == f"model.branch_scale={shown}: {line}"
        config_checks.check(composed(*overrides, "model.residual=true"))
    config_checks.check(composed("model.branch_scale=1.0"))
    assert refusal(composed("model.norm=none", "model.norm_bias=1")) == (
        "model.norm_bias=1.0: is the bias of each norm, and model.norm=none has none; set model.norm to batch or layer"
    )
    config_checks.check(composed("model.norm=layer", "model.norm_bias=1"))


def test_nesterov_needs_momentum() -> None:
    overrides = ("optimizer=sgd", "optimizer.nesterov=true")
    assert refusal(composed(*overrides, "optimizer.momentum=0")) == "optimizer.nesterov=true: needs optimizer.momentum above 0"
    config_checks.check(composed(*overrides))


def test_an_optimizer_with_a_momentum_of_its_own_needs_no_key_for_it() -> None:
    cfg = composed()
    cfg.optimizer = OmegaConf.create({"_target_": "torch.optim.Muon", "lr": 0.02, "nesterov": True})
    config_checks.check(cfg)


# ── conf/ ────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


@pytest.mark.parametrize("choice", range(max(len(options(group)) for group in config.GROUPS)))
def test_every_file_of_conf_passes(choice: int) -> None:
    names = {group: options(group)[choice % len(options(group))] for group in config.GROUPS}
    overrides = [f"{group}={name}" for group, name in names.items()]
    config_checks.check(composed(*overrides, *([FOLDER] if names["dataset"] == "imagefolder" else [])))


def test_the_experiment_of_remedies_has_all_of_them() -> None:
    params = OmegaConf.load(CONF / "experiment" / "remedies.yaml").hydra.sweeper.params
    assert sorted(params.remedy.split(",")) == options("remedy")


@pytest.mark.one_in(4)
@pytest.mark.parametrize("model", ["mlp", "cnn", "resnet"])
@pytest.mark.parametrize("remedy", options("remedy"))
def test_every_remedy_is_one_of_each_network_and_goes_by_its_name(remedy: str, model: str) -> None:
    cfg = composed(f"model={model}", f"remedy={remedy}")
    config_checks.check(cfg)
    assert cfg.model.name == remedy


@pytest.mark.one_in(3)
@pytest.mark.parametrize("experiment", options("experiment"))
def test_every_experiment_passes(experiment: str) -> None:
    config_checks.check(composed(f"experiment={experiment}"))


def test_checking_writes_nothing(compose_config: Callable[..., DictConfig]) -> None:
    cfg = compose_config("model=cnn")
    before = copy.deepcopy(cfg)
    OmegaConf.set_readonly(cfg, True)
    config_checks.check(cfg)
    assert cfg == before
