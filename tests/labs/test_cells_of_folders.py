"""A folder of images is one configuration however it is spelled, and others are others."""

from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from labs import cells

Compose = Callable[..., DictConfig]


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
