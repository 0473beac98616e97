"""JSON of runs is read without trust."""

import os

import pytest

from multirun_analysis.files import decode, read_json


def test_numbers_that_json_does_not_have_are_null():
    assert decode(b'{"a": NaN, "b": [Infinity, -Infinity, 1.5]}') == {"a": None, "b": [None, None, 1.5]}


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 200 + b"1" + b"}" * 200])
def test_damaged_content_is_a_value_error(content):
    with pytest.raises(ValueError):  # noqa: PT011
        decode(content)


def test_files_that_are_none_are_an_os_error(tmp_path):
    (tmp_path / "whole.json").write_text('{"ü": 1}', encoding="utf-8")
    assert read_json(tmp_path / "whole.json") == {"ü": 1}
    os.mkfifo(tmp_path / "pipe")  # reading it would wait forever
    for name in ("absent", ".", "pipe"):
        with pytest.raises(OSError):  # noqa: PT011
            read_json(tmp_path / name)
