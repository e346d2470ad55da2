from __future__ import annotations

from typing import Any

import pytest

from headgated.core.quantities import (
    absolute_path,
    absolute_paths,
    count,
    duration,
    group_name,
    one_of,
    size,
    socket_path,
)


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        (0, 0),
        (2, 2),
        (0.5, 0.5),
        ("20ms", 0.02),
        ("2s", 2),
        ("1.5s", 1.5),
        ("1.5 m", 90),
        ("1h", 3600),
        ("1d", 86400),
    ],
)
def test_duration_is_read_in_seconds(given: object, seconds: float) -> None:
    assert duration(0, 86400)(given) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "given",
    [
        -1,
        86401,
        True,
        None,
        "2",
        "s",
        "-1s",
        "1 min",
        "1M",
        "1e3s",
        "",
        "1s 1s",
        [],
        float("nan"),
        float("inf"),
        "\u0661s",
        10**400,
    ],
)
def test_duration_that_is_none_or_out_of_range_is_refused(given: object) -> None:
    with pytest.raises(ValueError, match=r"^must be "):
        duration(0, 86400)(given)


@pytest.mark.parametrize(
    ("given", "in_bytes"),
    [
        (1, 1),
        ("1B", 1),
        ("64KiB", 65536),
        ("1GiB", 2**30),
        ("10 MB", 10**7),
        ("0.5KiB", 512),
        ("1TiB", 2**40),
        ("1TB", 10**12),
    ],
)
def test_size_is_read_in_bytes(given: object, in_bytes: int) -> None:
    read = size(1, 2**40)(given)
    assert read == in_bytes
    assert isinstance(read, int)


@pytest.mark.parametrize("given", [0, True, "1", "1kb", "1G", 2**41, "-1B", float("nan")])
def test_size_that_is_none_or_out_of_range_is_refused(given: object) -> None:
    with pytest.raises(ValueError, match=r"^must be "):
        size(1, 2**40)(given)


@pytest.mark.parametrize("given", [0, 11, 1.0, "1", True, None])
def test_count_is_a_whole_number_in_range(given: object) -> None:
    assert count(1, 10)(10) == 10
    with pytest.raises(ValueError, match=r"^must be a whole number between 1 and 10 "):
        count(1, 10)(given)


def test_word_is_one_of_those_known() -> None:
    assert one_of("debug", "info")("INFO") == "info"
    for given in ("", "information", 1, None):
        with pytest.raises(ValueError, match=r"^must be one of debug, info "):
            one_of("debug", "info")(given)


@pytest.mark.parametrize(
    ("given", "path"), [("/a/b", "/a/b"), ("/a//b/./", "/a/b"), ("/", "/"), ("//", "/"), ("/..a", "/..a")]
)
def test_path_is_absolute_and_tidied(given: str, path: str) -> None:
    assert absolute_path(given) == path
    assert absolute_paths([given, "/x"]) == (path, "/x")


@pytest.mark.parametrize("given", ["", "a", "./a", "~/a", "/a/../b", "/a\0", 1, None, ["/a"]])
def test_path_that_is_not_absolute_or_climbs_is_refused(given: Any) -> None:
    with pytest.raises(ValueError, match=r"^must "):
        absolute_path(given)
    with pytest.raises(ValueError, match=r"^must "):
        absolute_paths([given])


def test_paths_are_a_list() -> None:
    with pytest.raises(ValueError, match=r"^must be a list of absolute paths"):
        absolute_paths("/a")


def test_socket_path_is_no_longer_than_the_kernel_takes() -> None:
    longest = "/" + "x" * 106
    assert socket_path(longest) == longest
    for given in (longest + "x", "/" + "\u00e9" * 60):
        with pytest.raises(ValueError, match="at most 107 bytes"):
            socket_path(given)


def test_group_is_a_name_or_empty() -> None:
    assert group_name("") == ""
    assert group_name("head-gate_1") == "head-gate_1"
    for given in ("a b", "-a", 1, None, "a:b", "x" * 40):
        with pytest.raises(ValueError, match=r"^must be the name of a group"):
            group_name(given)
