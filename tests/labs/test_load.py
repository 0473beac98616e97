"""`load_model`: the network that was tested, and the images it was trained, validated and tested on."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from noted import trained
from omegaconf import DictConfig
from PIL import Image
from torch import Tensor, nn

import labs
from labs import cells, load_model
from labs.data import datasets
from labs.data.batches import EvaluationBatches
from labs.errors import UserError
from labs.files import read_json, write_json
from labs.training import checkpoint

Compose = Callable[..., DictConfig]
PAGE = Path(__file__).parents[2] / "docs" / "python-api.md"


def images_of(batches: EvaluationBatches) -> tuple[Tensor, Tensor]:
    images, labels = zip(*batches, strict=True)
    return torch.cat(images), torch.cat(labels)


@torch.no_grad()
def measured(model: nn.Module, batches: EvaluationBatches) -> tuple[float, float]:
    """Loss in nats and accuracy in percent."""
    images, labels = images_of(batches)
    logits = model(images)
    return F.cross_entropy(logits, labels).item(), 100 * (logits.argmax(1) == labels).double().mean().item()


def refused(path: Path, *overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        load_model(path, *overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "overrides",
    [
        ["model.residual=true", "trainer.epochs=6"],
        ["model=cnn", "model.filters=[4,8]", "trainer.steps_per_epoch=6", "dataset.augment=standard"],
        ["dataset.normalize=false", "trainer.eval_batch_size=7"],
    ],
    ids=["mlp", "cnn, augmented", "not normalised"],
)
def test_the_network_is_the_one_of_result_json(compose_config: Compose, tmp_path: Path, overrides: list[str]) -> None:
    for directory in trained(compose_config(*overrides), tmp_path, 0, 1):
        model, data = load_model(directory)
        result = read_json(directory / "result.json")
        for part, batches in (("val", data.validation), ("test", data.test)):
            loss, accuracy = measured(model, batches)
            assert loss == pytest.approx(result[f"{part}_loss"], rel=1e-5)
            assert accuracy == pytest.approx(result[f"{part}_acc"], abs=1e-9)
        weights = checkpoint.load(directory / "checkpoints" / "best.pt")["model"]
        assert {name for name, values in model.state_dict().items() if not torch.equal(values, weights[name])} == set()
        assert not model.training
        assert {p.device.type for p in model.parameters()} == {"cpu"}


def test_the_data_are_the_three_parts_as_the_network_sees_them(compose_config: Compose, tmp_path: Path) -> None:
    cfg = compose_config("trainer.batch_size=50", "trainer.eval_batch_size=100")
    _, data = load_model(str(trained(cfg, tmp_path, 3)[0]))
    assert [len(part) for part in (data.train, data.validation, data.test)] == [1257, 180, 360]
    assert [len(next(iter(part))[1]) for part in (data.train, data.validation, data.test)] == [50, 100, 100]
    assert data.classes == [str(digit) for digit in range(10)]
    images, labels = images_of(data.train)
    assert (images.dtype, tuple(images.shape[1:]), labels.dtype) == (torch.float32, (1, 8, 8), torch.int64)
    assert (images.mean().item(), images.std(correction=0).item()) == (pytest.approx(0, abs=1e-5), pytest.approx(1, abs=1e-5))
    stored = datasets.load(cfg.dataset, train=False)
    split = datasets.split(cfg.dataset, torch.device("cpu"))
    assert torch.equal(images_of(data.test)[0], split.normalize(stored.images))
    assert torch.equal(images_of(data.test)[1], stored.labels)
    assert torch.equal(images_of(data.validation)[1], split.validation.labels)


def test_another_checkpoint_has_its_own_weights(compose_config: Compose, tmp_path: Path) -> None:
    [directory] = trained(compose_config("trainer.save_every=1"), tmp_path, 0)
    first = directory / "checkpoints" / "epoch_1.pt"
    model, _ = load_model(first)
    assert torch.equal(model.state_dict()["head.weight"], checkpoint.load(first)["model"]["head.weight"])
    last = checkpoint.load(directory / "checkpoints" / "last.pt")["model"]["head.weight"]
    assert not torch.equal(model.state_dict()["head.weight"], last)


def test_random_numbers_and_gradients_are_the_callers(compose_config: Compose, tmp_path: Path) -> None:
    [directory] = trained(compose_config(), tmp_path, 0)
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    model, data = load_model(directory)
    assert torch.equal(torch.rand(3), expected)
    images, labels = next(iter(data.train))
    F.cross_entropy(model(images), labels).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_images_that_lie_elsewhere_and_images_that_have_changed(compose_config: Compose, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for path in [tmp_path / "images" / p / c / f"{i}.png" for p in ("train", "test") for c in ("cat", "dog") for i in range(8)]:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(path)
    cfg = compose_config("dataset=imagefolder", f"dataset.folder={tmp_path}/images", "dataset.resize=8", "dataset.val_size=4")
    [directory] = trained(cfg, tmp_path / "cell", 0)
    shutil.move(tmp_path / "images", tmp_path / "moved")
    assert "no such folder" in refused(directory)
    _, data = load_model(directory, f"dataset.folder={tmp_path / 'moved'}")
    assert (data.classes, len(data.train), len(data.test)) == (["cat", "dog"], 12, 16)
    changed = tmp_path / "moved" / "train" / "cat" / "0.png"
    Image.open(changed).rotate(180).save(changed)
    assert refused(directory, f"dataset.folder={tmp_path / 'moved'}").endswith(
        "seed=0: was trained on other images than there are now; put them back"
    )


def test_what_cannot_be_loaded_is_one_line(compose_config: Compose, tmp_path: Path) -> None:
    [directory, other] = trained(compose_config(), tmp_path, 0, 1)
    assert refused(tmp_path).endswith(f"has 2 runs in it; name one, such as {directory}")
    assert "no checkpoints/best.pt in it" in refused(tmp_path / "seed=9")
    assert refused(directory, "model.depth=3").startswith("model.depth=3: cannot differ from what was trained; only device, ")
    assert refused(directory, "device=cpu").startswith("device=cpu: means nothing here; the network is loaded on the CPU")
    (other / "checkpoints" / "best.pt").write_bytes(b"no checkpoint")
    assert "not a readable checkpoint" in refused(other)
    (other / "checkpoints" / "best.pt").unlink()
    assert "checkpoints/best.pt: gone" in refused(other)


def test_weights_of_another_network_are_one_line(compose_config: Compose, tmp_path: Path) -> None:
    [directory] = trained(compose_config(), tmp_path, 0)
    path = directory / "checkpoints" / "best.pt"
    state = {key: value for key, value in checkpoint.load(path).items() if key != "format"}
    del state["model"]["head.weight"]
    checkpoint.save(path, state)
    assert refused(directory) == f"{path}: the weights are those of another network"


def test_code_of_a_directory_from_somebody_else_is_not_run(compose_config: Compose, tmp_path: Path) -> None:
    [directory] = trained(compose_config(), tmp_path, 0)
    note = read_json(directory / "config.json")
    marker = tmp_path / "made"
    evil = {"_target_": "os.mkdir", "path": str(marker)}
    for branch, change, said in (
        ("model", evil | {"name": "x"}, "model._target_=os.mkdir: is not a torch.nn.Module"),
        ("model", note["config"]["model"] | {"name": "${study}"}, "and no reference is read"),
    ):
        write_json(directory / "config.json", note | {"config": note["config"] | {branch: change}})
        assert said in refused(directory)
    own = {"_target_": "os.mkdir", "arguments": {"path": str(marker)}} | {
        key: value for key, value in note["config"]["dataset"].items() if key != "name"
    }
    changed = note["config"] | {"dataset": own | {"name": "own"}}
    path = directory / "checkpoints" / "best.pt"
    state = {key: value for key, value in checkpoint.load(path).items() if key != "format"}
    write_json(directory / "config.json", note | {"config": changed, "hash": cells.digest(changed)})
    checkpoint.save(path, state | {"hash": cells.digest(changed)})
    assert "is code of that name; if you trust it, add dataset._target_=os.mkdir" in refused(directory)
    assert not marker.exists()
    assert "os.mkdir" in refused(directory, "dataset._target_=os.mkdir")  # which is called now, and is no dataset
    assert marker.exists()


def test_it_is_imported_when_asked_for() -> None:
    code = "import sys, labs; print('torch' in sys.modules); from labs import load_model; print(load_model.__module__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\nlabs.load\n"
    with pytest.raises(AttributeError, match="'labs' has no attribute 'load_modle'"):
        _ = labs.load_modle


def test_the_example_of_the_page_runs(compose_config: Compose, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    [directory] = trained(compose_config("model.residual=true"), tmp_path, 0)
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    [block] = [
        re.sub(r'load_model\("[^"]*"\)', f"load_model({str(directory)!r})", block) for block in blocks if "load_model" in block
    ]
    exec(block, {})
    assert capsys.readouterr().out == f"{read_json(directory / 'result.json')['test_acc']:.2f} %\n"
