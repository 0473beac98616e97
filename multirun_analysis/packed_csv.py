"""A frame of millions of rows as compressed CSV, in a fraction of the time that pandas takes with `float_format`.

The rows are written in blocks, which gzip allows to follow one another, and a block is compressed on another thread while the
next one is formatted.
"""

import gzip
import re
from concurrent.futures import ThreadPoolExecutor
from itertools import chain

import numpy as np
import pandas as pd

ROWS = 20_000  # a block: larger ones do not fit the processor's cache and take a fifth longer
LEVEL = 1  # of compression: 4 makes files a sixth smaller, in 2.5 times the time
QUOTED = re.compile('[",\r\n]')


def write(frame: pd.DataFrame) -> bytes:
    """The frame with nine digits, an empty field for what is missing, and no clock time."""
    header = ",".join(map(_quoted, frame.columns)) + "\n"
    starts = range(0, len(frame), ROWS)
    with ThreadPoolExecutor(1) as pool:
        packed = [pool.submit(_compress, header)]
        packed += [pool.submit(_compress, _lines(frame.iloc[start : start + ROWS])) for start in starts]
    return b"".join(block.result() for block in packed)


def _lines(frame: pd.DataFrame) -> str:
    """The rows, by one template for all of them."""
    fields, columns = [], []
    for name in frame.columns:
        is_plain = frame[name].dtype == "float64" and frame[name].notna().all()
        fields.append("%.9g" if is_plain else "%s")
        columns.append(frame[name].tolist() if is_plain else _texts(frame[name]))
    template = ",".join(fields) + "\n"
    return (template * len(frame)) % tuple(chain.from_iterable(zip(*columns, strict=True)))


def _texts(column: pd.Series) -> list[str]:
    """The fields of a column."""
    codes, values = pd.factorize(column)  # a missing value has the code -1
    texts = [f"{value:.9g}" if isinstance(value, float) else _quoted(str(value)) for value in values.tolist()]
    return np.array([*texts, ""], dtype=object)[codes].tolist()


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if QUOTED.search(text) else text


def _compress(text: str) -> bytes:
    return gzip.compress(text.encode(), compresslevel=LEVEL, mtime=0)
