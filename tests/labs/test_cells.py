"""Names on disk: what decides a cell, what does not, and that every name is safe."""

import copy
import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from composing import composed
from hydra import compose
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf

from labs import cells

Compose = Callable[..., DictConfig]
IMAGES = ("dataset=imagefolder", "dataset.folder=pictures")

# ── the hash ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

DECIDES_NOTHING = {
    "metrics",
    "study", "seed", "replicas", "device", "plan", "resume", "logger.tensorboard", "dataset.data_dir", "dataset.download",
    "trainer.eval_batch_size", "trainer.save_every", "trainer.log_every", "trainer.num_threads", "trainer.cuda_graphs",
    "analysis.x", "analysis.hue", "analysis.facets", "analysis.metric", "diagnostics.signals", "diagnostics.signals_every",
    "diagnostics.probes", "diagnostics.probes_every", "diagnostics.probe_images",
}  # fmt: skip


def leaves(node: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(node, dict):
        return {prefix: node}
    return {key: value for name, child in node.items() for key, value in leaves(child, f"{prefix}.{name}".lstrip(".")).items()}


def another(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, list):
        return [*value[:-1], value[-1] / 2 if isinstance(value[-1], float) else value[-1] + 1]
    return f"{value}x"


OTHER = {
    "study": "x",
    "model.width": 3,
    "model.widths": [3],
    "trainer.steps": 9,
    "trainer.steps_per_epoch": 2,
    "dataset.image_size": 4,
    "trainer.num_threads": 7,
    "trainer.clip_grad_norm": 1.0,
    "metrics": [{"_target_": "a.B"}],
    "analysis.facets": ["dataset.name"],
}


@pytest.mark.parametrize(
    "overrides", [(), ("model=cnn", "optimizer=sgd", "scheduler=cosine", *IMAGES), ("scheduler=constant", "optimizer=adamw")]
)
def test_the_hash_holds_what_decides_the_numbers_and_nothing_else(compose_config: Compose, overrides: tuple[str, ...]) -> None:
    cfg = compose_config(*overrides)
    before = cells.config_hash(cfg)
    assert re.fullmatch("[0-9a-f]{10}", before)
    unchanged = set()
    for key, value in leaves(cells.resolved(cfg)).items():
        changed = copy.deepcopy(cfg)
        OmegaConf.update(changed, key, OTHER[key] if key in OTHER else another(value))
        if cells.config_hash(changed) == before:
            unchanged.add(key)
    assert unchanged == DECIDES_NOTHING


def test_runs_from_before_there_was_a_choice_of_axes_are_the_same_cells(compose_config: Compose) -> None:
    before = cells.resolved(compose_config("model.depth=7"))
    asked = ("analysis.x=optimizer.lr", "analysis.facets=[model.depth]", "analysis.metric=val_acc")
    chosen = compose_config("model.depth=7", *asked)
    assert cells.resolved(chosen)["analysis"] == {
        "x": "optimizer.lr", "hue": None, "facets": ["model.depth"], "metric": "val_acc",
    }  # fmt: skip
    assert cells.config_hash(chosen) == cells.digest(before)
    del before["analysis"]
    assert cells.config_hash(chosen) == cells.digest(before)


# Of runs from before these networks had keys for norm, activation, initial weights, blocks and scales.
EARLIER = {
    ("model.depth=7",): "9f8e9fd76f",
    ("model=cnn",): "04715037ba",
    ("model=resnet", "dataset=cifar10"): "883126274f",
    ("model=resnet", "dataset=cifar10", "model.block=pre", "model.residual=false"): "aa3d6a7758",
}
OTHER_LAYERS = ("block=pre", "branch_scale=0.5", "norm=layer", "norm_bias=0.5", "activation=tanh", "init=orthogonal")


@pytest.mark.parametrize("overrides", EARLIER)
def test_the_usual_layers_leave_the_hash_as_it_was_and_others_decide(overrides: tuple[str, ...]) -> None:
    assert cells.config_hash(composed(*overrides)) == EARLIER[overrides]
    changes = [f"model.{change}" for change in OTHER_LAYERS if f"model.{change}" not in overrides]
    hashes = {cells.config_hash(composed(*overrides, change)) for change in changes}
    assert len(hashes | {EARLIER[overrides]}) == len(changes) + 1


def test_a_scale_is_one_number_however_it_is_typed() -> None:
    whole, real, half = (cells.config_hash(composed(f"model.branch_scale={text}")) for text in ("2", "2.0", "0.5"))
    assert whole == real != half


def test_keys_of_another_network_decide_also_where_ours_has_them_later() -> None:
    nodes = [{"model": {"_target_": "my.Net", "norm": norm, "block": "post"}} for norm in ("batch", "layer")]
    nodes.append({"model": {"_target_": "my.Net", "block": "post"}})
    assert len({cells.config_hash(OmegaConf.create(node)) for node in nodes}) == 3


def test_what_is_measured_between_epochs_makes_no_other_cell(compose_config: Compose) -> None:
    before = cells.config_hash(compose_config("model.depth=7"))
    full = cells.resolved(compose_config("model.depth=7", "diagnostics=full", "diagnostics.probe_images=50"))
    assert cells.digest(full) == before
    assert full["trainer"]["diagnostics"] == "epoch"
    del full["diagnostics"]
    assert cells.digest(full) == before
    off = compose_config("model.depth=7", "diagnostics=off")
    assert cells.config_hash(off) == cells.config_hash(compose_config("model.depth=7", "trainer.diagnostics=off")) != before


def folder_hash(compose_config: Compose, folder: str) -> tuple[str, str]:
    cfg = compose_config("dataset=imagefolder", f"dataset.folder='{folder}'")
    assert cells.digest(cells.resolved(cfg)) == cells.config_hash(cfg)  # as of config.json
    return cells.resolved(cfg)["dataset"]["folder"], cells.config_hash(cfg)


def test_a_folder_is_one_however_it_is_spelled(
    compose_config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "work" / "a" / "imgs").mkdir(parents=True)
    (tmp_path / "home").symlink_to(tmp_path / "work")
    (tmp_path / "work" / "link").symlink_to("a/imgs")
    (tmp_path / "elsewhere").symlink_to(tmp_path / "work" / "a")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path / "home")
    spelled = ["a/imgs", "a/imgs/", "./a/imgs", "a/imgs/.", ".//a//imgs//", "a/../a/imgs", "../work/a/imgs", "../home/link/",
               f"{tmp_path}/work/a/imgs", f"{tmp_path}/home/a/imgs", "link", "../elsewhere/imgs", "~/work/link"]  # fmt: skip
    assert {folder_hash(compose_config, folder) for folder in spelled} == {folder_hash(compose_config, "a/imgs")}
    assert folder_hash(compose_config, "link")[0] == "a/imgs"


def test_a_folder_elsewhere_is_one_however_it_is_spelled(
    compose_config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("work", "imgs"):
        (tmp_path / name).mkdir()
    (tmp_path / "work" / "link").symlink_to("../imgs")
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("HOME", str(tmp_path))
    for folder in ("../imgs", "../imgs/", "link", f"{tmp_path}/work/link/", "~/imgs", f"{tmp_path}/../{tmp_path.name}/imgs"):
        assert folder_hash(compose_config, folder)[0] == str(tmp_path / "imgs")


def test_other_folders_are_other_cells(compose_config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "link").symlink_to("a/b")
    folders = [
        "imgs",
        "imgs2",
        "a/imgs",
        "link/../imgs2",
        "link/..",
        ".",
        "..",
        "/imgs",
        "~nobody/imgs",
        "Imgs",
        "a,b",
    ]
    hashes = [folder_hash(compose_config, folder) for folder in folders]
    assert len({name for name, _ in hashes}) == len({hashed for _, hashed in hashes}) == len(folders)
    assert cells.folder_name("a\0b") == "a\0b"  # which no system has
    assert hashes[3][0] == "a/imgs2"  # where .. is above what the link leads to


GOLDEN = {"pictures": "a1c0f8a399", "/a/b": "a82da5558c", "a/b": "1238180ef5", ".": "66453e0768"}


@pytest.mark.parametrize("folder", GOLDEN)
def test_a_folder_that_is_spelled_plainly_has_the_hash_it_always_had(
    compose_config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    for here in ("one", "two"):
        (tmp_path / here / "pictures").mkdir(parents=True)
        monkeypatch.chdir(tmp_path / here)
        assert folder_hash(compose_config, folder) == (folder, GOLDEN[folder])


def test_a_folder_is_seen_from_where_the_program_was_started(
    compose_config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in a job that has a directory of its own, with hydra.job.chdir=true."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "imgs").mkdir()
    (tmp_path / "link").symlink_to("imgs")
    before = folder_hash(compose_config, "link")
    monkeypatch.setattr("hydra.core.hydra_config.HydraConfig.initialized", lambda: True)
    started = OmegaConf.create({"runtime": {"cwd": str(tmp_path)}})
    monkeypatch.setattr("hydra.core.hydra_config.HydraConfig.get", lambda: started)
    (tmp_path / "job").mkdir()
    monkeypatch.chdir(tmp_path / "job")
    assert folder_hash(compose_config, "link") == folder_hash(compose_config, f"{tmp_path}/imgs") == before


def test_a_new_key_decides() -> None:
    """Whoever adds a setting gets new directories, until they say that it decides nothing."""
    assert cells.config_hash(OmegaConf.create({"model": {"new": 1}})) != cells.config_hash(
        OmegaConf.create({"model": {"new": 2}})
    )


def test_the_hash_is_sha256_of_the_canonical_json() -> None:
    cfg = OmegaConf.create({
        "trainer": {"epochs": 3, "log_every": 1}, "scheduler": {"T_max": "${trainer.epochs}"}, "model": {"depth": 5}, "seed": 4,
        "logger": {"tensorboard": True}, "dataset": {"name": "digits", "data_dir": "/data"}, "hydra": {"job": 3},
    })  # fmt: skip
    text = '{"dataset":{"name":"digits"},"model":{"depth":5},"scheduler":{"T_max":3},"trainer":{"epochs":3}}'
    assert cells.config_hash(cfg) == hashlib.sha256(text.encode()).hexdigest()[:10]


def test_neither_order_nor_origin_changes_the_hash(compose_config: Compose) -> None:
    spelled_out = [
        "model=mlp", "dataset=mnist", "model.depth=5", "dataset.val_size=5000", "optimizer.lr=1e-3", "trainer.epochs=20",
        "optimizer.weight_decay=1.0e-4", "trainer.batch_size=128", "trainer.patience=5", "trainer.save_every=5",
    ]  # fmt: skip
    first = compose_config(*spelled_out)
    assert cells.config_hash(compose_config(*reversed(spelled_out))) == cells.config_hash(first)
    assert cells.config_hash(compose("config", ["experiment=mnist_mlp", "seed=3", "logger=none"])) == cells.config_hash(first)
    plain = cells.resolved(first)
    turned = OmegaConf.create({key: plain[key] for key in reversed(plain)})
    assert cells.config_hash(turned) == cells.config_hash(first)


def test_resolved_is_plain_and_without_hydra(compose_config: Compose) -> None:
    cfg = compose_config("scheduler=cosine", "trainer.epochs=7")
    plain = cells.resolved(cfg)
    assert plain["scheduler"]["T_max"] == 7
    assert "hydra" not in plain
    json.dumps(plain)
    assert cfg.scheduler.T_max == 7  # what is given stays a configuration
    assert OmegaConf.is_interpolation(cfg.scheduler, "T_max")


# ── names ────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("overrides", "readable"),
    [
        ((), "mlp-digits-depth=5-plain"),
        (("dataset=mnist", "model.depth=100", "model.residual=true"), "mlp-mnist-depth=100-residual"),
        (("model.widths=[9,8,7]", "model.depth=50"), "mlp-digits-depth=3-plain"),
        (("model.width=9",), "mlp-digits-depth=5-width=9-plain"),
        (("model=cnn", "dataset=cifar10"), "cnn-cifar10-filters=32-64-128-256-plain"),
        (("model.name=my net/v2",), "my_net_v2-digits-depth=5-plain"),
    ],
)
def test_names_say_what_is_in_them(compose_config: Compose, overrides: tuple[str, ...], readable: str) -> None:
    cfg = compose_config(*overrides)
    assert cells.cell_name(cfg) == f"{readable}-{cells.config_hash(cfg)}"


def test_a_model_without_a_name_goes_by_its_class() -> None:
    cfg = OmegaConf.create({"model": {"_target_": "my.nets.Wide"}, "dataset": {}})
    assert cells.cell_name(cfg) == f"Wide-data-{cells.config_hash(cfg)}"


def assert_safe(name: str) -> None:
    """One component of a path on any file system, also beside a prefix and a suffix of Hydra's or the system's."""
    assert len(name.encode()) <= 200
    assert re.fullmatch(r"[A-Za-z0-9_=.+-]+-[0-9a-f]{10}", name)
    assert name == Path(name).name


NASTY = [
    "..",
    "../../etc/passwd",
    "/",
    "a/b\\c",
    "a\nb",
    "a\x00b",
    "",
    " ",
    "~",
    "*",
    "$(rm -rf .)",
    "-rf",
    "ä" * 300,
    "𝔘" * 300,
]


@pytest.mark.one_in(3)
@pytest.mark.parametrize("text", NASTY)
def test_no_text_makes_an_unsafe_name(compose_config: Compose, text: str) -> None:
    cfg = compose_config()
    cfg.model.name = cfg.dataset.name = text
    assert_safe(cells.cell_name(cfg))


@settings(max_examples=25, deadline=None)
@given(st.text(), st.text(), st.lists(st.integers(1, 10**6), min_size=1))
def test_no_text_at_all_makes_an_unsafe_name(model: str, dataset: str, filters: list[int]) -> None:
    cfg = OmegaConf.create({"model": {"name": "x", "filters": filters, "residual": True}, "dataset": {"name": "x"}})
    cfg.model.name, cfg.dataset.name = model.replace("$", ""), dataset.replace("$", "")  # $ would be a reference
    assert_safe(cells.cell_name(cfg))


def test_long_lists_share_a_prefix_and_not_a_name(compose_config: Compose) -> None:
    cfg = compose_config("model=cnn")
    names = set()
    for last in (1, 2):
        cfg.model.filters = [*[64] * 1_000, last]
        assert_safe(cells.cell_name(cfg))
        names.add(cells.cell_name(cfg))
    assert len(names) == 2


# ── directories ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_directories_follow_from_the_configuration(compose_config: Compose) -> None:
    cfg = compose_config()
    assert cells.sweep_dir(cfg, "2026-01-02/03") == "multirun/2026-01-02/03"
    assert cells.run_dir(cfg, "2026-01-02/03") == "outputs/2026-01-02/03"
    cfg.study = "my_study"
    assert cells.sweep_dir(cfg, "2026-01-02/03") == "multirun/my_study"
    assert cells.run_dir(cfg, "2026-01-02/03") == f"multirun/my_study/{cells.cell_name(cfg)}"
    assert cells.run_directory(Path("cell"), 3) == Path("cell/seed=3")


def test_seeds_count_up_from_the_first(compose_config: Compose) -> None:
    assert cells.seeds(compose_config()) == [0]
    assert cells.seeds(compose_config("seed=4", "replicas=3")) == [4, 5, 6]


def test_hydra_gets_the_same_names(compose_config: Compose) -> None:
    compose_config()
    cfg = compose("config", ["study=x", "model.depth=7"], return_hydra_config=True)
    assert cfg.hydra.sweep.subdir == cells.cell_name(cfg)
    assert cfg.hydra.sweep.dir == "multirun/x"
    assert cfg.hydra.run.dir == f"multirun/x/{cells.cell_name(cfg)}"
    first, second = (compose("config", return_hydra_config=True).hydra.run.dir for _ in range(2))
    assert re.fullmatch(r"outputs/\d{4}-\d\d-\d\d/\d\d-\d\d-\d\d-\d{6}", first)
    assert first != second  # two launches in the same second
