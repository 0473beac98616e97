"""The first losses of three fixed configurations, as committed: a change that should not alter training does not.

Other processors and torch versions round differently, and the rounding grows with every step: hence three epochs of shallow
networks. Between an Intel Xeon and an AMD EPYC MLPs differ by up to 7e-6 then, and the CNN, whose convolutions are other
algorithms there, by up to 3e-3. To renew the numbers after a change that is meant to alter training, run
`python tests/labs/test_golden_losses.py` and say why in the changelog.
"""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir

from labs.replicas import compile

GOLDEN = Path(__file__).parents[2] / "golden" / "losses.json"
EPOCHS = 3
TOLERANCE = {"mlp": 1e-4, "cnn": 1e-2}  # relative
MLPS = {
    "residual mlp, adam, plateau": ["model=mlp", "model.residual=true"],
    "plain mlp, sgd, cosine, no augmentation": ["model=mlp", "optimizer=sgd", "scheduler=cosine", "dataset.augment=none"],
}
CONFIGURATIONS = {
    **{name: [*overrides, "trainer.engine=stacked"] for name, overrides in MLPS.items()},
    **{f"{name}, engine fused": [*overrides, "trainer.engine=fused"] for name, overrides in MLPS.items()},
    "residual cnn, adamw": ["model=cnn", "model.filters=[8,16]", "model.residual=true", "optimizer=adamw"],
}


def losses(overrides: list[str], cell: Path) -> list[list[float]]:
    """Training and validation loss of each epoch."""
    from labs import cells, config
    from labs.training import run

    config.register()
    cells.register()
    with initialize_config_dir(str(Path(__file__).parents[3] / "conf"), version_base="1.3"):
        cfg = compose("config", [*overrides, f"trainer.epochs={EPOCHS}", "logger=none", "trainer.num_threads=1", "device=cpu"])
    cell.mkdir(parents=True, exist_ok=True)
    run.train(cells.Cell.of(cfg, cell), [0], show_progress=False)
    rows = [json.loads(line) for line in (cell / "seed=0" / "metrics.jsonl").read_text().splitlines()]
    return [[row["train_loss"], row["val_loss"]] for row in rows]


@pytest.mark.one_in(2)
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_first_losses_are_the_committed_ones(name: str, tmp_path: Path) -> None:
    if "fused" in name and isinstance(compile.library(), str):
        pytest.skip(f"no compiled step: {compile.library()}")
    golden: dict[str, Any] = json.loads(GOLDEN.read_text())
    measured = losses(CONFIGURATIONS[name], tmp_path)
    assert len(measured) == EPOCHS
    tolerance = TOLERANCE["cnn" if "cnn" in name else "mlp"]
    for now, then in zip(measured, golden[name], strict=True):
        assert now == pytest.approx(then, rel=tolerance)


if __name__ == "__main__":
    import tempfile

    sys.path.insert(0, str(Path(__file__).parents[3]))
    with tempfile.TemporaryDirectory() as folder:
        renewed = {name: losses(overrides, Path(folder) / str(i)) for i, (name, overrides) in enumerate(CONFIGURATIONS.items())}
    GOLDEN.parent.mkdir(exist_ok=True)
    GOLDEN.write_text(json.dumps(renewed, indent=1) + "\n")
