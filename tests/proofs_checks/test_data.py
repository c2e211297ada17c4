"""Data files: what is read, bit for bit, and what is refused, with the place."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nntk_proofs_checks.data import DataFileError, default_data, load
from nntk_reference import InputError

FINITE = st.floats(allow_nan=False, allow_infinity=False)


def refusal(path: Path) -> DataFileError:
    with pytest.raises(DataFileError) as caught:
        load(path)
    return caught.value


def csv_file(folder: Path, text: str | bytes, name: str = "points.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_name_too_long_for_the_reader_of_names(tmp_path: Path) -> None:
    error = refusal(csv_file(tmp_path, f"{'a' * 200_000},second,y\n1,2,3\n1,x,3\n"))
    assert "second" in str(error)


# --- what is read ----------------------------------------------------------------------------------------------------


def test_default_data() -> None:
    problem = default_data()
    x = np.linspace(0, 1, 16)
    assert problem.X.shape == (16, 1)
    np.testing.assert_array_equal(problem.X[:, 0], x)
    np.testing.assert_array_equal(problem.y, 2 * x + 0.4 * np.sin(5 * np.pi * x))
    assert problem.source == "16 points of y = 2x + 0.4 sin(5πx) on [0, 1]"


@pytest.mark.parametrize(
    "text",
    [
        "1,2,3\n4,5,6\n",
        "1,2,3\r\n4,5,6",
        "1;2;3\n4;5;6\n",
        "1\t2\t3\n4\t5\t6\n",
        "1,\t2,\t3\n4,\t5,\t6\n",
        "\ufeff1,2,3\n4,5,6\n",
        "\ufeffx1,x2,y\n1,2,3\n4,5,6\n",
        "x1;x2;y\n+1.0;2.;30e-1\n 4 ; 5 ; .6E1 \n",
        '"width, in m","length","y"\n1,2,3\n4,5,6\n',
        '"width, in m", "length, in m", y\n1,2,3\n4,5,6\n',
        "x1,,y\n1,2,3\n4,5,6\n",
        "größe,β,y\n1,2,3\n4,5,6\n",
        "# two points\n\n1,2,3\n   \n4,5,6  # the last\n  # the end\n\n",
        "# a comment, with commas\n# x1, x2, y\nx1\tx2\ty\n1\t2\t3\n4\t5\t6\n",
    ],
)
def test_csv(tmp_path: Path, text: str) -> None:
    problem = load(csv_file(tmp_path, text))
    np.testing.assert_array_equal(problem.X, [[1, 2], [4, 5]])
    np.testing.assert_array_equal(problem.y, [3, 6])
    assert problem.X.dtype == problem.y.dtype == np.float64
    assert problem.source == str(tmp_path / "points.csv")


@given(
    rows=st.integers(2, 4).flatmap(lambda d: st.lists(st.tuples(*[FINITE] * d), min_size=2, max_size=6)),
    header=st.booleans(),
    delimiter=st.sampled_from(",;\t"),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    bom=st.booleans(),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_csv_gives_every_bit_back(
    tmp_path: Path, rows: list[tuple[float, ...]], header: bool, delimiter: str, end: str, bom: bool
) -> None:
    lines = [delimiter.join(map(repr, row)) for row in rows]
    if header:
        lines.insert(0, delimiter.join(f"x{i}" for i in range(len(rows[0]))))
    problem = load(csv_file(tmp_path, "\ufeff" * bom + end.join(lines) + end))
    expected = np.array(rows)
    assert problem.X.tobytes() == expected[:, :-1].tobytes()
    assert problem.y.tobytes() == expected[:, -1].tobytes()


@given(values=st.lists(st.tuples(FINITE, FINITE), min_size=2, max_size=6))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_npz_gives_every_bit_back(tmp_path: Path, values: list[tuple[float, float]]) -> None:
    data = np.array(values)
    np.savez(tmp_path / "points.npz", X=data[:, :1], y=data[:, 1])
    problem = load(tmp_path / "points.npz")
    assert (problem.X.tobytes(), problem.y.tobytes()) == (data[:, :1].tobytes(), data[:, 1].tobytes())


def test_npz_of_other_real_numbers_and_upper_case_suffix(tmp_path: Path) -> None:
    with (tmp_path / "POINTS.NPZ").open("wb") as file:
        np.savez_compressed(file, X=np.array([[1, 2], [3, 4]], np.int32), y=np.array([0.5, 1], np.float16), more=np.zeros(3))
    problem = load(str(tmp_path / "POINTS.NPZ"))
    assert problem.X.dtype == problem.y.dtype == np.float64
    np.testing.assert_array_equal(problem.X, [[1, 2], [3, 4]])


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line", "column", "parts"),
    [
        ("0,1\n2,abc\n", 2, 2, ["line 2, column 2:", "a finite decimal number", "'abc'"]),
        ("x,y\n\n# c\n0,1\nabc,2\n", 5, 1, ["line 5, column 1 ('x'):", "'abc'"]),
        ('"x, left",y\n0,1\nabc,2\n', 3, 1, ["column 1 ('x, left'):", "'abc'"]),
        ("0,1,y\n0,1,2\n", 1, 3, ["line 1, column 3", "'y'"]),
        ("0,1\n2,\n", 2, 2, ["an empty field"]),
        (",\n0,1\n", 1, 1, ["an empty field"]),
        ("0,nan\n1,2\n", 1, 2, ["finite", "'nan'"]),
        ("nan,inf\n1,2\n2,3\n", 1, 1, ["finite", "'nan'"]),  # not a header
        ("0,1\n1,-Infinity\n", 2, 2, ["finite", "'-Infinity'"]),
        ("0,1\n1,1e999\n", 2, 2, ["a number that float64 holds", "'1e999'"]),
        ("0,1\n1_000,2\n", 2, 1, ["'1_000'"]),
        ("1_000,2_000\n0,1\n1,2\n", 1, 1, ["'1_000'"]),
        ("0x10,0x20\n1,2\n2,3\n", 1, 1, ["'0x10'"]),
        ("0,1\n1,0x1p3\n", 2, 2, ["'0x1p3'"]),
        ("0,1\n1,٣\n", 2, 2, ["'٣'"]),
        ("0,1\n1,2j\n", 2, 2, ["'2j'"]),
        ("0,1\n1,1d5\n", 2, 2, ["'1d5'"]),
        ('0,1\n"1",2\n', 2, 1, ["""'"1"'"""]),
        ('"0","1"\n1,2\n2,3\n', 1, 1, ["""'"0"'"""]),
        ("1,5;2,5\n3,5;4,5\n", 1, 1, ["'1,5'"]),
        ("x;y\n1;2,5\n3;4\n", 2, 2, ["'2,5'"]),
        ("0x1,abc\n", 1, 1, ["'0x1'"]),  # two fields, the first like a number; not one field like a number
        ("x;y\n?,?\n", 2, None, ["2 columns", "got 1"]),  # where nothing is a number, the first row tells the delimiter
        ("0,1\n1," + "z" * 1000, 2, 2, ["'zzz", "…"]),
        ("0,1\n2,3,4\n", 2, None, ["line 2:", "2 columns", "got 3"]),
        ("x,y\n0,1\n2\n", 3, None, ["line 3:", "2 columns", "got 1"]),
        ("x,y\n0,1,2\n", 2, None, ["line 2:", "2 columns", "got 3"]),
        ("1\n2\n", 1, None, ["at least 2 columns", "one: '1'"]),
        ("y\n1\n2\n", 1, None, ["at least 2 columns", "one: 'y'"]),
        ("1 2\n3 4\n", 1, None, ["commas, semicolons or tabs", "one: '1 2'"]),
        ("x,y\n", 1, None, ["numbers below the header", "nothing"]),
        ("0,1\n", None, None, ["at least 2 points", "got 1"]),
        ("", None, None, ["an empty file"]),
        ("\n# nothing\n  \n", None, None, ["no line but blanks and comments"]),
        ("1", 1, None, ["at least 2 columns", "one: '1'"]),
        ("0,1\n1," + 40 * "z", 2, 2, [repr(40 * "z")]),
        ("0,1\n1," + 41 * "z", 2, 2, [repr(39 * "z" + "…")]),  # as long, and seen to be cut
        (b"\n0,\xff\n", 2, None, ["UTF-8 text", "byte 0xff"]),
        (b"0,1\n1,\xff2\n", 2, None, ["line 2:", "UTF-8 text", "byte 0xff"]),
        ("0,1\n1,2\n".encode("utf-16"), 1, None, ["UTF-8 text"]),
        (b"0,1\n1,2\0\n", 2, 2, ["'2\\x00'"]),
    ],
)
def test_csv_refusals(tmp_path: Path, text: str | bytes, line: int | None, column: int | None, parts: list[str]) -> None:
    path = csv_file(tmp_path, text)
    error = refusal(path)
    assert (error.file, error.line, error.column) == (str(path), line, column)
    assert error.argument == "data"
    assert str(error).startswith(f"data: {path}")
    for part in parts:
        assert part in str(error)
    assert len(str(error)) < len(str(path)) + 200


def test_names_that_are_no_data_files(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    assert "got a directory" in str(refusal(tmp_path / "folder.csv"))
    assert "got nothing there" in str(refusal(tmp_path / "missing.npz"))
    assert "ending in .csv or .npz, got '.txt'" in str(refusal(csv_file(tmp_path, "0,1\n1,2\n", "points.txt")))
    assert "ending in .csv or .npz, got neither" in str(refusal(csv_file(tmp_path, "0,1\n1,2\n", "points")))
    os.mkfifo(tmp_path / "pipe.csv")
    assert "got something else" in str(refusal(tmp_path / "pipe.csv"))
    assert "File name too long" in str(refusal(tmp_path / ("a" * 300 + ".csv")))
    odd = csv_file(tmp_path, "0,1\n1,2\n", "caf\udce9.csv")  # Latin-1 bytes in the name
    assert load(odd).source.encode().endswith(rb"caf\udce9.csv")


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, *mode: str) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    paths = [csv_file(tmp_path, "0,1\n1,2\n"), csv_file(tmp_path, b"PK", "points.npz")]
    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr(Path, "read_bytes", refuse)
    for path in paths:
        assert "expected a readable file, got Permission denied" in str(refusal(path))


X, Y = np.zeros((3, 2)), np.arange(3.0)


@pytest.mark.parametrize(
    ("arrays", "parts"),
    [
        ({"X": X}, ["the arrays X and y", "no y (it holds: X)"]),
        ({"x": X, "target": Y}, ["no X and no y (it holds: x, target)"]),
        ({}, ["it holds: none"]),
        ({"X": np.arange(3.0), "y": Y}, ["(X)", "shape (3,)", "X.reshape(-1, 1)"]),
        ({"X": X, "y": Y[:, None]}, ["(y)", "shape (3, 1)"]),
        ({"X": X, "y": Y[:2]}, ["(y)", "shape (3,)", "shape (2,)"]),
        ({"X": np.zeros((3, 0)), "y": Y}, ["(X)", "empty array"]),
        ({"X": X[:1], "y": Y[:1]}, ["at least 2 points, got 1"]),
        ({"X": X + 0j, "y": Y}, ["(X)", "real numbers", "complex128"]),
        ({"X": X > 0, "y": Y}, ["(X)", "real numbers", "bool"]),
        ({"X": X, "y": np.array(["a", "b", "c"])}, ["(y)", "real numbers", "<U1"]),
        ({"X": np.where(X == 0, np.inf, X), "y": Y}, ["(X)", "finite", "inf at index (0, 0)"]),
        ({"X": X, "y": np.array([0, 1, np.nan])}, ["(y)", "finite", "nan at index 2"]),
        ({"X": X, "y": np.array([0, 1, 2**60])}, ["(y)", "2^53"]),
    ],
)
def test_npz_refusals(tmp_path: Path, arrays: dict[str, np.ndarray], parts: list[str]) -> None:
    path = tmp_path / "points.npz"
    np.savez(path, **arrays)
    error = refusal(path)
    assert error.argument == "data"
    assert str(error).startswith(f"data: {path}")
    for part in parts:
        assert part in str(error)


class Bomb:
    """Would make a file if anyone unpickled it."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str, int]]:
        return os.mkdir, (str(self.mark), 0o700)


def test_npz_never_unpickles(tmp_path: Path) -> None:
    path, mark = tmp_path / "points.npz", tmp_path / "exploded"
    np.savez(path, X=np.array([[Bomb(mark)]], dtype=object), y=Y)
    error = refusal(path)
    assert "(X)" in str(error)
    assert "real numbers" in str(error)
    assert "pickled objects" in str(error)
    path.write_bytes(pickle.dumps(Bomb(mark)))
    assert "an NPZ archive" in str(refusal(path))
    assert not mark.exists()


def test_damaged_npz(tmp_path: Path) -> None:
    path = tmp_path / "points.npz"
    np.savez_compressed(path, X=np.random.default_rng(0).normal(size=(20, 2)), y=np.arange(20.0))
    whole = path.read_bytes()

    path.write_bytes(whole[: len(whole) // 2])
    assert "a damaged archive" in str(refusal(path))
    path.write_bytes(b"")
    assert "an empty file" in str(refusal(path))
    np.save(tmp_path / "points.npy", Y)
    (tmp_path / "points.npy").replace(path)
    assert "an NPZ archive" in str(refusal(path))

    for at in range(0, len(whole), 7):  # whatever byte is wrong, the file is read or refused by name
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        try:
            load(path)
        except DataFileError as error:
            assert str(path) in str(error)  # noqa: PT017

    with zipfile.ZipFile(path, "w") as archive:
        header = "{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000000, 1), }"
        archive.writestr("X.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode())
        archive.writestr("y", "not an array")
    assert "an intact NPZ archive" in str(refusal(path))


def test_the_error_is_an_input_error_and_survives_pickling() -> None:
    error = DataFileError("a.csv", "a number", "'b'", 3, 2, "'y'")
    assert isinstance(error, InputError)
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error) == "data: a.csv, line 3, column 2 ('y'): expected a number, got 'b'"
    assert (again.file, again.line, again.column) == ("a.csv", 3, 2)
