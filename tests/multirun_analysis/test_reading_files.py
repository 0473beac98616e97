"""JSON of runs is read without trust."""

import json
import os

import numpy as np
import pytest

from multirun_analysis.files import decode, read_json


def test_numbers_that_json_does_not_have_are_null():
    assert decode(b'{"a": NaN, "b": [Infinity, -Infinity, 1.5]}') == {"a": None, "b": [None, None, 1.5]}


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 200 + b"1" + b"}" * 200])
def test_damaged_content_is_a_value_error(content):
    with pytest.raises(ValueError):  # noqa: PT011
        decode(content)


@pytest.mark.parametrize(
    "content",
    [
        b'{"a": 1, "b": 2, "a": 3}', b"[1e999, -1e999]", b"[123456789012345678901234567890, -9223372036854775809, 1E2]",
        b"[2.2250738585072011e-308, 1.0e-400, 0.1, 0.30000000000000004, 123456789.123456789123456789]", b"[-0, -0.0]",
        b'["\\ud800", "\\u0000"]', b" \n{}\t", b"[true, false, null]", b'"\xc3\xbc"', b"[" * 99 + b"]" * 99,
    ],
)  # fmt: skip
def test_it_reads_what_the_standard_library_reads(content):
    read, expected = decode(content), json.loads(content)
    assert repr(read) == repr(expected)  # minus zero and the types of numbers, too


@pytest.mark.parametrize(
    "content", [b"[01]", b"[1,]", b"[.5]", b"[1.]", b"[+1]", b"[1]x", b"[1]\x00", b"[1]\x0c", b'["\x01"]', b'["\xed\xa0\x80"]',
                b"\xef\xbb\xbf[1]", b"[" + b"9" * 5000 + b"]", b"nan", b"[-NaN]", b"{1: 2}", b"['a']"],
)  # fmt: skip
def test_it_refuses_what_the_standard_library_refuses_in_its_words(content):
    with pytest.raises(ValueError) as told:  # noqa: PT011
        decode(content)
    with pytest.raises(ValueError) as expected:  # noqa: PT011
        json.loads(content.decode())
    assert str(told.value) == str(expected.value)


def test_more_levels_than_can_be_walked_through_are_refused():
    assert decode(b"[" * 100 + b"]" * 100)
    with pytest.raises(ValueError, match="nested too deeply"):
        decode(b"[" * 101 + b"]" * 101)


def test_random_numbers_are_read_to_the_last_bit():
    rng = np.random.default_rng(0)
    numbers = rng.integers(0, 2**64, 20_000, dtype=np.uint64).view(np.float64)
    texts = [f"{number:.{digits}e}" for number in numbers[np.isfinite(numbers)] for digits in (8, 17, 30)]
    lines = [f"[{', '.join(texts[start : start + 50])}]".encode() for start in range(0, len(texts), 50)]
    assert [decode(line) for line in lines] == [json.loads(line) for line in lines]


def test_files_that_are_none_are_an_os_error(tmp_path):
    (tmp_path / "whole.json").write_text('{"ü": 1}', encoding="utf-8")
    assert read_json(tmp_path / "whole.json") == {"ü": 1}
    os.mkfifo(tmp_path / "pipe")  # reading it would wait forever
    for name in ("absent", ".", "pipe"):
        with pytest.raises(OSError):  # noqa: PT011
            read_json(tmp_path / name)
