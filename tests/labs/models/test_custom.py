"""A network of the user's own trains, or is refused before the first job in a line that says what it must return."""

import itertools
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import networks
import pytest
import torch
from breaking_off import refusal, resumes
from networks import Own, own
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from labs.cells import Cell
from labs.errors import UserError
from labs.jobs import plan, preflight, sweep
from labs.models import custom
from labs.models.build import build_model
from labs.seeding import stream_seed

pytestmark = pytest.mark.usefixtures("every_epoch_is_saved")
MODULE = networks.__name__
Compose = Callable[..., DictConfig]
RETURNS = {
    "tuple": "a tuple ((3, 10), (3, 1, 8, 8)) for 3 images",
    "auxiliary": "a list ((3, 10), (3, 10)) for 3 images",
    "dict": "a dict ((3, 10)) for 3 images",
    "none": "a NoneType for 3 images",
    "few": "a tensor of shape (3, 5) for 3 images",
    "many": "a tensor of shape (3, 20) for 3 images",
    "4-D": "a tensor of shape (3, 10, 1, 1) for 3 images",
    "images": "a tensor of shape (1, 10) for 3 images",
    "integers": "int64 numbers for 3 images",
    "half": "float16 numbers for 3 images",
    "detached": "what depends on no trainable parameter for 3 images",
    "softmax": "probabilities, the values of a softmax or sigmoid, for 3 images",
    "evaluation": "a tensor of shape (10,) for 3 images in evaluation mode",
}


@pytest.mark.one_in(2)
@pytest.mark.parametrize("kind", RETURNS)
def test_what_is_no_logits_is_refused(compose_config: Compose, kind: str) -> None:
    assert refusal(own(compose_config, kind=kind)) == (
        f"model._target_={MODULE}.Own: returns {RETURNS[kind]}; it must return their logits alone, "
        "a float32 tensor of shape (3, 10), a number for each of the 10 classes"
    )


@pytest.mark.one_in(2)
@pytest.mark.parametrize(("target", "arguments", "line"), [
    ("Own", {"kind": "batch of 64"}, "model._target_={}.Own: its forward fails for 3 images of shape (1, 8, 8) ("),
    ("Own", {"kind": "late"}, "model._target_={}.Own: makes parameters in its forward, too late to be trained; make them in"),
    ("Own", {"width": 3}, "model.width: {}.Own takes no width; it takes kind"),
    ("Frozen", {}, "Frozen: needs trainable parameters, all of one type of number"),
    ("Frozen", {"parameters": False}, "Frozen: needs trainable parameters, all of one type of number"),
    ("nothing", {}, "model._target_={}.nothing: is called with input_shape, num_classes, and takes no input_shape"),
    ("dictionary", {}, "model._target_={}.dictionary: made a dict, and no torch.nn.Module"),
    ("missing", {}, "model._target_={0}.missing: cannot be imported (module '{0}' has no attribute 'missing')"),
])  # fmt: skip
def test_what_cannot_be_trained_is_one_line(compose_config: Compose, target: str, arguments: dict[str, Any], line: str) -> None:
    said = refusal(own(compose_config, target, **arguments))
    assert said.startswith(line.format(MODULE))
    assert "\n" not in said


# batches of 64 and 41 images in training, of 180 and 360 in evaluation
@pytest.mark.parametrize(("kind", "line"), [
    ("up to 4", "its forward fails for 64 images of shape (1, 8, 8) (not for 64)"),
    ("reads, up to 4", "its forward fails for 64 images of shape (1, 8, 8) (not for 64)"),
    ("in place", "its backward fails for 3 images of shape (1, 8, 8) (one of the variables needed for gradient computation"),
    ("three", "returns a tensor of shape (3, 10) for 64 images; it must return their logits alone"),
    ("merged", "returns a tensor of shape (32, 20) for 64 images; it must return their logits alone"),
])  # fmt: skip
def test_what_fails_for_the_batches_of_a_run_is_refused(compose_config: Compose, kind: str, line: str) -> None:
    cfg = own(compose_config, kind=kind)
    cfg.trainer.batch_size = 64
    assert refusal(cfg).startswith(f"model._target_={MODULE}.Own: {line}")


@pytest.mark.parametrize(("kind", "trainer", "fails"), [
    ("never 17", {"batch_size": 620}, "its forward fails for 17 images of shape (1, 8, 8) (not for 17)"),
    ("never 17", {"eval_batch_size": 163}, "its forward fails for 17 images of shape (1, 8, 8) (not for 17)"),
    ("squeezed", {"eval_batch_size": 179}, "returns a tensor of shape (10,) for 1 image in evaluation mode"),
    ("squeezed", {"eval_batch_size": 360}, None),
    ("squeezed", {"batch_size": 628}, None),  # of 1257 images: the last batch of one joins the one before
    ("never 17", {"batch_size": 620, "steps_per_epoch": 2}, None),
])  # fmt: skip
def test_the_last_batches_count_too(compose_config: Compose, kind: str, trainer: dict[str, int], fails: str | None) -> None:
    cfg = own(compose_config, kind=kind)
    cfg.trainer = OmegaConf.merge(cfg.trainer, {"steps_per_epoch": None}, trainer)
    if fails is None:
        preflight.check_networks([cfg])
    else:
        assert refusal(cfg).startswith(f"model._target_={MODULE}.Own: {fails}")


def test_the_batches_are_those_of_a_run(compose_config: Compose) -> None:
    cfg = compose_config("trainer.batch_size=314", "trainer.eval_batch_size=100", "dataset.val_size=0.1")
    shown: dict[str, set[int]] = {"training": set(), "evaluation": set()}

    class Showing(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            shown["training" if self.training else "evaluation"].add(len(x))
            return super().forward(x.flatten(1))

    task = preflight.task_of(cfg)
    custom.check("", Showing(64, 10), task)
    few = {key: sizes - {3} for key, sizes in shown.items()}
    batches = [len(labels) for labels in torch.arange(1437 - 144).split(314)]
    parts = [len(labels) for count in (144, 360) for labels in torch.arange(count).split(100)]
    assert few == {"training": set(batches), "evaluation": set(parts)} == {"training": {314, 37}, "evaluation": {100, 44, 60}}


def test_every_batch_size_of_a_sweep_is_tried(compose_config: Compose, tmp_path: Path) -> None:
    jobs = []
    for kind, size in itertools.product(("logits", "never 17"), (64, 620)):
        cfg = own(compose_config, kind=kind)
        cfg.trainer = OmegaConf.merge(cfg.trainer, {"steps_per_epoch": None, "batch_size": size})
        jobs.append(plan.Job([], Cell.of(cfg, tmp_path), [0], ""))
    with pytest.raises(UserError, match="fails for 17 images"):
        preflight.check_networks(sweep.configurations(jobs))


def test_with_numbers_large_batches_are_left_out() -> None:
    small, large = (custom.Task((1, side, side), 10, training=(1000,), evaluation=(1000,)) for side in (8, 80))
    with pytest.raises(UserError, match="fails for 1000 images"):
        custom.check("", Own(small.shape, 10, "up to 4"), small)
    custom.check("", Own(large.shape, 10, "up to 4"), large)


@pytest.mark.parametrize("here", [True, False])
def test_sparse_gradients_are_refused(compose_config: Compose, here: bool) -> None:
    with pytest.raises(UserError) as caught:
        preflight.check_networks([own(compose_config, "Sparse")], here=here)
    assert str(caught.value) == (
        f"model._target_={MODULE}.Sparse: table.weight has sparse gradients, which are not trained here; set sparse=False"
    )


def test_what_fails_with_numbers_alone_is_refused(compose_config: Compose) -> None:
    said = refusal(own(compose_config, "Sparse", rows=1))
    assert said == (
        f"model._target_={MODULE}.Sparse: its forward fails for 3 images of shape (1, 8, 8) (index out of range in self)"
    )


def test_what_is_not_finite_from_the_start_is_said(compose_config: Compose, caplog: pytest.LogCaptureFixture) -> None:
    preflight.check_networks([own(compose_config, kind=kind) for kind in ("nan", "logits")])
    assert caplog.messages == [
        f"model._target_={MODULE}.Own: returns NaN or infinity before the first step, so that its run will be diverged"
    ]


@pytest.mark.parametrize(("by", "said"), [
    ("exit", "SystemExit"), ("I leave", "SystemExit: I leave"), ("interrupt", "KeyboardInterrupt"),
])  # fmt: skip
def test_a_network_that_ends_the_program_is_refused(
    compose_config: Compose, monkeypatch: pytest.MonkeyPatch, by: str, said: str
) -> None:
    monkeypatch.setattr(signal, "default_int_handler", None)  # as where labs.signals handles Ctrl-C
    line = f"ends the program, by {said}"
    assert refusal(own(compose_config, "Ends", by=by)) == f"model._target_={MODULE}.Ends: {line}"
    late = refusal(own(compose_config, "Ends", by=by, late=True))
    assert late == f"model._target_={MODULE}.Ends: its forward fails for 3 images of shape (1, 8, 8) ({line})"


def test_ctrl_c_ends_the_program_where_nothing_handles_it(compose_config: Compose, python_handles_ctrl_c: None) -> None:
    with pytest.raises(KeyboardInterrupt):
        preflight.check_networks([own(compose_config, "Ends", by="interrupt")])


def test_what_is_made_inside_of_a_network_is_named(compose_config: Compose) -> None:
    cfg = own(compose_config, "Holds", block={"_target_": f"{MODULE}.Raises"})
    assert refusal(cfg) == f"model._target_={MODULE}.Holds (model.block): inner trouble"


def test_what_a_network_needs_is_named(compose_config: Compose) -> None:
    said = refusal(own(compose_config, "Ends", late=True))
    assert said == f"model._target_={MODULE}.Ends: needs by; add +model.by=…"


def test_text_with_a_reference_in_it_reaches_the_network_as_it_is(compose_config: Compose) -> None:
    cfg = own(compose_config, kind=r"\${nowhere} and \\\${there}", target="Own")
    assert build_model(cfg, 0).kind == r"${nowhere} and \${there}"


@pytest.mark.one_in(2)
@pytest.mark.parametrize(("target", "arguments"), [
    ("Own", {}), ("Own", {"kind": "double"}), ("Own", {"kind": "reads"}), ("Tied", {}), ("Twice", {}),
])  # fmt: skip
def test_what_can_be_trained_goes_on_to_the_same_bits(
    compose_config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, arguments: dict[str, Any]
) -> None:
    resumes(monkeypatch, own(compose_config, target, **arguments), tmp_path)


def test_lazy_weights_follow_from_the_seed_and_leave_the_mode(compose_config: Compose) -> None:
    cfg = own(compose_config)
    network = build_model(cfg, seed=3)
    torch.manual_seed(stream_seed(3, "init"))
    first, second = nn.Linear(64, 8), nn.Linear(8, 10)
    state = network.state_dict()
    assert torch.equal(state["body.1.weight"], first.weight)
    assert torch.equal(state["body.4.weight"], second.weight)
    assert int(state["body.2.num_batches_tracked"]) == 0
    assert all(module.training for module in network.modules())
