"""Losses: smoothed labels against torch, and the user's own, trained, tested again and refused in one line."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from breaking_off import break_off, equal, left_behind, lines, refusal, train
from omegaconf import DictConfig, OmegaConf
from own_parts import Weighted, focal
from torch import nn
from trained import cnn, mlp

from labs import cells, evaluate, losses
from labs.errors import UserError
from labs.files import write_json
from labs.jobs import preflight
from labs.load import load_model
from labs.losses import Loss, sums
from labs.replicas import compile
from labs.replicas.replicas import Replicas

Compose = Callable[..., DictConfig]
NO_COMPILER = isinstance(compile.library(), str)
ENGINES = [
    "looped", "stacked", pytest.param("fused", marks=pytest.mark.skipif(NO_COMPILER, reason="no compiled step")),
]  # fmt: skip
FOCAL = ["loss=any/target", "loss._target_=own_parts.focal", "+loss.gamma=1.5"]
WEIGHTED = ["loss=any/target", "loss._target_=own_parts.Weighted"]
SHORT = ["trainer.epochs=3", "trainer.steps_per_epoch=4", "model.widths=[16,8,8,8]", "device=cpu", "trainer.num_threads=1"]


def test_the_loss_of_each_image_is_torchs() -> None:
    logits, labels = torch.randn(2, 5, 3), torch.randint(3, (2, 5))
    for smoothing in (0.0, 0.1, 1.0):
        expected = torch.stack([
            F.cross_entropy(a, b, reduction="none", label_smoothing=smoothing) for a, b in zip(logits, labels, strict=True)
        ])  # fmt: skip
        torch.testing.assert_close(Loss(smoothing)(logits, labels), expected)


def test_a_mean_and_a_number_an_image_are_one_loss() -> None:
    logits, labels = torch.randn(2, 5, 3), torch.randint(3, (2, 5))
    each, mean = Loss(own=focal), Loss(own=lambda *pair: focal(*pair).mean())
    torch.testing.assert_close(sums(mean(logits, labels), labels), sums(each(logits, labels), labels))
    torch.testing.assert_close(mean(logits, labels).mean(1), each(logits, labels).mean(1))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("smoothing", [0.1, 1.0])
def test_a_step_lowers_the_cross_entropy_with_smoothed_labels(engine: str, smoothing: float) -> None:
    replicas = Replicas([mlp(0), mlp(1)], [0, 1], engine=engine, loss=Loss(smoothing))
    assert replicas.engine == engine
    images, labels = torch.randn(2, 12, 1, 6, 6), torch.randint(4, (2, 12))
    replicas.begin_epoch(1)
    found, _ = replicas.step(images, labels)
    replicas.eval()
    after, _ = replicas.evaluate(images[0], labels[0])
    for i in (0, 1):
        exact = mlp(i).double()
        loss = F.cross_entropy(exact(images[i].double()), labels[i], label_smoothing=smoothing)
        loss.backward()
        gradients = torch.cat([torch.as_tensor(p.grad).flatten() for p in exact.parameters()])
        assert found[i].item() == pytest.approx(12 * loss.item(), rel=1e-5)
        torch.testing.assert_close(replicas.gradients[i].double(), gradients, rtol=1e-4, atol=1e-6)
        logits = exact.eval()(images[0].double())
        expected = F.cross_entropy(logits, labels[0], label_smoothing=smoothing, reduction="sum")
        assert after[i].item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("make", [mlp, cnn])
def test_a_step_lowers_the_users_own_loss(make: Callable[[int], nn.Module]) -> None:
    own = Weighted(4)
    replicas = Replicas([make(0).eval(), make(1).eval()], [0, 1], loss=Loss(own=own, name="mine"))
    assert replicas.engine != "fused"
    replicas.eval()  # so that there is no dropout
    images, labels = torch.randn(2, 12, 1, 6, 6), torch.randint(4, (2, 12))
    found, _ = replicas.step(images, labels)
    for i in (0, 1):
        exact = make(i).double().eval()
        loss = own.double()(exact(images[i].double()), labels[i])
        loss.backward()
        assert found[i].item() == pytest.approx(12 * loss.item(), rel=1e-5)
        for name, gradients in replicas.views(replicas.gradients).items():
            torch.testing.assert_close(gradients[i].double(), exact.get_parameter(name).grad, rtol=1e-4, atol=1e-6)
        own.float()


def test_no_graph_repeats_a_loss_of_the_users_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for loss, recorded in ((Loss(0.1), True), (Loss(own=focal), False)):
        replicas = Replicas([mlp(0)], [0], engine="stacked", loss=loss)
        monkeypatch.setattr(replicas, "device", torch.device("cuda"))
        assert replicas.capturable is recorded


# ── runs ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.one_in(2)
@pytest.mark.parametrize(
    ("overrides", "of"),
    [
        (["loss.label_smoothing=0.2"], lambda logits, labels: F.cross_entropy(logits, labels, label_smoothing=0.2)),
        (FOCAL, lambda logits, labels: focal(logits, labels, 1.5).mean()),
        (WEIGHTED, Weighted()),
    ],
    ids=["smoothed", "a function", "a module"],
)
def test_the_losses_of_a_run_are_those_that_were_chosen(
    compose_config: Compose, tmp_path: Path, overrides: list[str], of: Callable[..., torch.Tensor]
) -> None:
    cfg = compose_config(*SHORT, "trainer.test_weights=last", "trainer.patience=null", *overrides)
    preflight.check_networks([cfg])
    [result] = train(cfg, tmp_path)
    trust = [f"loss._target_={cfg.loss._target_}"] if losses.is_own(cfg.loss) else []
    write_json(tmp_path / "seed=0" / "config.json", {"hash": cells.config_hash(cfg), "seed": 0, "config": cells.resolved(cfg)})
    model, data = load_model(tmp_path / "seed=0")
    with torch.no_grad():
        for part, name in ((data.validation, "val_loss"), (data.test, "test_loss")):
            each = [(float(of(model(images), labels)), len(labels)) for images, labels in part]
            assert len(each) == 1
            assert result[name] == pytest.approx(each[0][0], rel=1e-5)
    usual = train(compose_config(*SHORT, "trainer.patience=null"), tmp_path / "usual")[0]
    assert abs(usual["train_loss"] - result["train_loss"]) > 0.005
    evaluate.main([str(tmp_path / "seed=0"), *trust])


@pytest.mark.one_in(3)
@pytest.mark.parametrize("overrides", [FOCAL, WEIGHTED, ["loss.label_smoothing=0.1"]], ids=["function", "module", "smoothed"])
def test_a_replica_is_its_solo_run_to_the_bit_and_goes_on_to_the_same_bits(
    compose_config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overrides: list[str]
) -> None:
    cfg = compose_config(*SHORT, *overrides)
    break_off(monkeypatch, cfg, tmp_path / "together", (2, 1), 0, 1, 2)
    train(cfg, tmp_path / "together", (0, 1, 2))
    train(cfg, tmp_path / "alone", (1,))
    assert equal(left_behind(tmp_path / "together", 1), left_behind(tmp_path / "alone", 1))
    assert lines(tmp_path / "alone" / "seed=1" / "metrics.jsonl")[-1]["epoch"] == 3


def test_the_default_is_in_no_hash_and_every_other_loss_is(compose_config: Compose) -> None:
    default = cells.resolved(compose_config())
    before = {key: value for key, value in default.items() if key not in ("loss", "metrics")}
    assert cells.digest(default) == cells.digest(before)
    others = (["loss.label_smoothing=0.1"], FOCAL, WEIGHTED, ["loss=any/target", "loss._target_=torch.nn.CrossEntropyLoss"])
    hashes = {cells.config_hash(compose_config(*overrides)) for overrides in ([], *others)}
    assert len(hashes) == 5


def test_code_of_somebody_else_runs_only_if_it_is_named_again(
    compose_config: Compose, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cfg = compose_config(*SHORT, *FOCAL)
    train(cfg, tmp_path)
    run, named = tmp_path / "seed=0", "loss._target_=own_parts.focal"
    write_json(run / "config.json", {"hash": cells.config_hash(cfg), "seed": 0, "config": cells.resolved(cfg)})
    with pytest.raises(UserError, match=rf"seed=0/config.json: {named}: is code of that name; if you trust it, add {named}"):
        evaluate.main([str(run)])
    with pytest.raises(UserError, match=r"loss._target_=a.b: .*seed=0 was trained with loss._target_=own_parts.focal"):
        evaluate.main([str(run), named, "loss._target_=a.b"])
    evaluate.main([str(run), named])
    assert "result.json: the same, to the last bit" in capsys.readouterr().out


# ── refusals ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

SHOULD = "must return the mean loss of 3 images, or a tensor of shape (3,)"
REFUSED = {
    "own_parts.by_class": f"returns a tensor of shape (3, 10); {SHOULD}",
    "own_parts.summed": "returns the sum over the images; it must return their mean, or a number for each",
    "own_parts.accuracy": "cannot be differentiated by the logits, so that nothing would be trained",
    "own_parts.nothing": "is NaN or infinite, or its gradients are, for every input that was tried",
    "own_parts.steep": "is NaN or infinite, or its gradients are, for every input that was tried",
    "own_parts.noisy": "draws random numbers, which a run that goes on could not draw again",
    "own_parts.plain_number": f"returns a float; {SHOULD}",
    "own_parts.failing": "fails for logits (3, 10) and labels (3,) (no such thing)",
    "own_parts.Trainable": "has trainable parameters, which no optimizer would update; make them buffers",
    "own_parts.Counting": "changes its own buffers, which no checkpoint keeps; it must depend on its inputs alone",
    "own_parts.Recall": "its objects cannot be called; they must take (logits, labels)",
    "own_parts.focl": "cannot be imported (module 'own_parts' has no attribute 'focl'), did you mean own_parts.focal?",
}


@pytest.mark.parametrize("path", REFUSED)
def test_what_cannot_be_trained_with_is_refused_before_the_first_job(compose_config: Compose, path: str) -> None:
    cfg = compose_config("loss=any/target", f"loss._target_={path}", "trainer.steps_per_epoch=1")
    assert refusal(cfg) == f"loss._target_={path}: {REFUSED[path]}"


def test_arguments_that_it_does_not_take_are_refused(compose_config: Compose) -> None:
    told = refusal(compose_config("loss=any/target", "loss._target_=own_parts.focal", "+loss.alpha=1"))
    assert told == "loss.alpha: own_parts.focal takes no alpha; it takes gamma"


def test_the_fused_engine_says_that_it_does_not_cover_a_loss_of_the_users_own(compose_config: Compose) -> None:
    told = refusal(compose_config(*FOCAL, "trainer.engine=fused"))
    assert told == (
        "trainer.engine=fused: not for this run (loss._target_=own_parts.focal); trainer.engine=auto takes one that is"
    )


def test_classes_of_torch_work(compose_config: Compose) -> None:
    cfg = compose_config("loss=any/target", "loss._target_=torch.nn.MultiMarginLoss", "+loss.margin=0.5")
    preflight.check_networks([cfg])
    logits, labels = torch.randn(1, 4, 10), torch.randint(10, (1, 4))
    assert math.isclose(float(losses.build(cfg.loss)(logits, labels).mean()),
                        float(F.multi_margin_loss(logits[0], labels[0], margin=0.5)), rel_tol=1e-6)  # fmt: skip
    assert OmegaConf.is_config(cfg.loss)
