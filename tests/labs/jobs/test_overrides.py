"""What is typed on a command line where text belongs stays as it was typed."""

import pytest

from labs.jobs.overrides import as_typed, key_of


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("study=2026_11_25", 'study="2026_11_25"'),
        ("study=12e3000", 'study="12e3000"'),
        ("study=true", 'study="true"'),
        ("study=1.10", 'study="1.10"'),
        ("study=nan", 'study="nan"'),
        ("study=007", "study=007"),
        ("study=null", "study=null"),
        ("study=depth_5", "study=depth_5"),
        ("study='2026_11_25'", "study='2026_11_25'"),
        ("+dataset.folder=2024_01", '+dataset.folder="2024_01"'),
        ("dataset.folder=2024_01,b,2_0", 'dataset.folder="2024_01",b,"2_0"'),
        ("dataset.data_dir=${oc.env:HOME}", "dataset.data_dir=${oc.env:HOME}"),
        ("experiment=2024_01", 'experiment="2024_01"'),
        ("hydra.sweep.dir=2024_01", 'hydra.sweep.dir="2024_01"'),
        ("seed=1_0", "seed=1_0"),
        ("optimizer.lr=1e-3", "optimizer.lr=1e-3"),
        ("-m", "-m"),
        ("--config-name=2024_01", "--config-name=2024_01"),
    ],
)
def test_text_is_quoted_where_hydra_would_read_a_number(typed: str, kept: str) -> None:
    before, after = as_typed([typed, "seed=0"])
    assert (before, after) == (kept, "seed=0")


def test_the_key_of_an_override() -> None:
    lines = ["model.depth=3", "+model.depth=3", "++model.depth=a=b", "~model.depth", "~model.depth=3"]
    assert {key_of(line) for line in lines} == {"model.depth"}
