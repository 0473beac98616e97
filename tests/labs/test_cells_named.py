"""Names and directories of cells follow from the configuration and are safe on every file system."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra import compose
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf

from labs import cells

Compose = Callable[..., DictConfig]


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
