"""The writer of layers.csv.gz: what pandas would write, in less time."""

import gzip
import io

import numpy as np
import pandas as pd
import pytest

from multirun_analysis import packed_csv


def frame(rows):
    rng = np.random.default_rng(0)
    names = ["layers.0", 'a,"b"', "'=1", "数据", "two\nlines", "nan"]
    return pd.DataFrame({
        "run": np.arange(rows, dtype="int32"),
        "name": pd.Categorical.from_codes(np.arange(rows) % 7 - 1, categories=names),  # the code -1 is a missing name
        "grad,norm": rng.lognormal(0, 30, rows),
        "gaps": np.where(np.arange(rows) % 3, rng.normal(size=rows), np.nan),
        "few": np.tile([0.0, -0.0, 1e-300, 1.0, 1 / 3], rows // 5 + 1)[:rows],
    })  # fmt: skip


@pytest.mark.parametrize("rows", [0, 1, 7, 8, 9, 30])
def test_it_is_what_pandas_writes_however_the_rows_fall_into_blocks(rows, monkeypatch):
    monkeypatch.setattr(packed_csv, "ROWS", 8)
    written = gzip.decompress(packed_csv.write(frame(rows))).decode()
    assert written.replace("-0\n", "0\n") == frame(rows).to_csv(index=False, lineterminator="\n", float_format="%.9g").replace(
        "-0\n", "0\n"
    )  # a zero has one sign for all


def test_it_reads_back_and_has_no_clock_time():
    packed = packed_csv.write(frame(20))
    assert packed[4:8] == b"\0\0\0\0"
    assert packed == packed_csv.write(frame(20))
    back = pd.read_csv(io.BytesIO(gzip.decompress(packed)), keep_default_na=False, na_values=[""])
    np.testing.assert_allclose(back["grad,norm"], frame(20)["grad,norm"], rtol=1e-8)
    assert back["name"].isna().tolist() == [row % 7 == 0 for row in range(20)]
