"""Tables: what a good file holds, and what is said of every bad one."""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pyarrow as pa
import pytest
from pyarrow import parquet

from optlstm.data.table import DataFile, dataset_name, file_rows, first_cells, read_table
from optlstm.errors import InputError

LONG_TEXT = b"ds,y\n" + b"".join(b"%d,%d\n" % (i, i * 7919 % 1013) for i in range(20_000))
LONG_GZIP = gzip.compress(LONG_TEXT)


def write(folder: Path, content: bytes | str, name: str = "x.csv") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def problems_of(path: Path, columns: list[str] | None = None) -> list[str]:
    with pytest.raises(InputError) as caught:
        read_table(DataFile(path), columns)
    for problem in caught.value.problems:
        assert problem.startswith("data: ")
        assert "\n" not in problem
        assert str(path.parent) not in problem or "python -c" in problem  # what is typed names the file as it was
    return caught.value.problems


BAD: dict[str, tuple[str, bytes | str, list[str]]] = {
    "empty": ("x.csv", "", ["x.csv is empty"]),
    "blank lines": ("x.csv", "\n \n", ["x.csv is empty"]),
    "empty gzip": ("x.csv.gz", gzip.compress(b""), ["x.csv.gz is empty"]),
    "header only": ("x.csv", "ds,y\n", ["has a header and no rows"]),
    "names or data": ("x.csv", "1,2\n3,-4e1\n", ["row 1 holds only whole numbers (1, 2)", "--set data.header=false"]),
    "duplicate columns": ("x.csv", "ds,y,y\n1,2,3\n", ["row 1", "more than one column is named 'y'"]),
    "two separators": ("x.csv", "a|b;c\n1|2;3\n", ["x.csv may be separated by ';' and '|'; --set data.separator="]),
    "extra field": ("x.csv", "ds,y\n1,2\n1,2,3\n", ["the 2 fields of the header", "row 3 has 3"]),
    "missing field": ("x.csv", "ds,y\n1,2\n\n1\n", ["1 row(s)", "row 4 has 1"]),
    "all rows too long": ("x.csv", "ds,y\n1,2,3\n4,5,6\n", ["2 row(s)", "row 2 has 3, row 3 has 3"]),
    "truncated gzip": ("x.csv.gz", LONG_GZIP[: len(LONG_GZIP) // 2], ["truncated or damaged"]),
    "cut gzip trailer": ("x.csv.gz", LONG_GZIP[:-3], ["truncated or damaged"]),
    "not gzip": ("x.csv.gz", "ds,y\n1,2\n", ["is no gzip file"]),
    "gzip named csv": ("x.csv", LONG_GZIP, ["gzip: name it .csv.gz"]),
    "utf-16 without mark": ("x.csv", "ds,y\n1,2\n".encode("utf-16-le"), ["UTF-16", "--set data.encoding=utf-16-le"]),
    "latin-1": ("x.csv", "ds,y\n1,a\n2,Málaga är\n".encode("latin-1"), ["row 3, column 'y'", "Latin-1 ('Málaga är')"]),
    "latin-1 header": ("x.csv", "ds,sûreté\n1,2\n".encode("latin-1"), ["row 1, column 'sûreté'", "Latin-1"]),
    "windows-1252": ("x.csv", "ds,y\n1,“so”\n".encode("cp1252"), ["column 'y'", "looks like windows-1252 ('“so”')"]),
    "cyrillic": (
        "x.csv",
        "ds,имя\n1,2\n".encode("cp1251"),
        ["column 2: not UTF-8, perhaps", "windows-1251"],
    ),
    "one bad byte": ("x.csv", "ds,größe\n1,".encode() + b"\xfc\n", ["column 'größe'", "Latin-1 ('ü')"]),
    "nul byte": ("x.csv", b"ds,y,z\n1,2,aaaaa\n2,3\x00,b\n", ["row 3, column 'y'", "NUL byte"]),
    "an environment": ("x.csv", b"TOKEN=secret\x00" + b"HOME=/x\x00" * 500, ["row 1, column 1: a NUL byte"]),
    "a long name, twice": ("x.csv", f"ds,{'y' * 900},{'y' * 900}\n1,2,3\n", [f"'{'y' * 59}…'"]),
    "open quote": ("x.csv", 'ds,y\n1,2\n2,"3\n3,4\n', ["row 3", "quote that is not closed"]),
    "excel": ("x.xlsx", "PK", ["\"import pandas as pd; pd.read_excel('", "x.csv', index=False)\""]),
    "json lines": ("x.jsonl", "{}", ["x.jsonl', lines=True).to_csv('", "x.csv', index=False)"]),
    "a kind nobody knows": (
        "x.pkl",
        "x",
        ["none of .csv, .tsv, .txt, .dat (also with .gz, .bz2, .xz, .zip), .parquet"],
    ),
    "not xz": ("x.csv.xz", "ds,y\n1,2\n", ["is no xz file"]),
    "truncated xz": ("x.csv.xz", lzma.compress(LONG_TEXT)[:-20], ["truncated or damaged"]),
    "truncated bzip2": ("x.csv.bz2", bz2.compress(LONG_TEXT)[:-20], ["truncated or damaged"]),
    "bzip2 with other bytes": ("x.csv.bz2", b"BZh9" + b"x" * 400, ["truncated or damaged"]),
    "truncated zip": ("x.zip", b"PK\3\4" + b"x" * 400, ["x.zip cannot be unpacked: File is not a zip file"]),
    "another format": ("x.arff", "@relation", ["scipy.io", "arff.loadarff"]),
    "no parquet": ("x.parquet", "PAR1, or so", ["damaged or no Parquet"]),
    "empty parquet": ("x.parquet", "", ["damaged or no Parquet"]),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_files(kind: str, tmp_path: Path) -> None:
    name, content, words = BAD[kind]
    (problem,) = problems_of(write(tmp_path, content, name))
    assert name in problem
    for word in words:
        assert word in problem
    assert "secret" not in problem


def test_several_kinds_of_bad_rows_are_several_problems(tmp_path: Path) -> None:
    path = write(tmp_path, "ds,y\n1,ü\n1,2,3\n".encode("latin-1"))
    assert len(problems_of(path)) == 2


def test_missing_files_name_the_nearest(tmp_path: Path) -> None:
    write(tmp_path, "ds,y\n1,2\n", "ETTh1.csv")
    assert problems_of(tmp_path / "ETTh1.cvs") == ["data: file 'ETTh1.cvs' not found; did you mean 'ETTh1.csv'?"]
    assert problems_of(tmp_path / "sales.csv") == ["data: file 'sales.csv' not found"]
    assert "folder" in problems_of(tmp_path)[0]


def test_missing_columns_are_all_named(tmp_path: Path) -> None:
    path = write(tmp_path, "date,HUFL,OT\n1,2,3\n", "ETTh1.csv")
    assert problems_of(path, ["OTT", "OT", "when"]) == [
        "data: column 'OTT' not found in ETTh1.csv; did you mean 'OT'? (columns: date, HUFL, OT)",
        "data: column 'when' not found in ETTh1.csv (columns: date, HUFL, OT)",
    ]


def test_truncated_parquet(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pd.DataFrame({"y": np.arange(1000.0)}).to_parquet(path)
    path.write_bytes(path.read_bytes()[:-100])
    assert "damaged" in problems_of(path)[0]


class _Little:
    available = 1 << 20  # bytes


def test_what_unpacks_to_more_than_the_memory_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A value that is repeated takes next to nothing in a file."""
    pd.DataFrame({"ds": np.zeros(1 << 20), "y": 0.0}).to_parquet(tmp_path / "x.parquet")
    write(tmp_path, gzip.compress(b"ds,y\n" + b"0,0\n" * 500_000), "x.csv.gz")
    assert max(path.stat().st_size for path in tmp_path.iterdir()) < 20_000

    monkeypatch.setattr(psutil, "virtual_memory", _Little)
    monkeypatch.setattr(parquet.ParquetFile, "read", None)
    (problem,) = problems_of(tmp_path / "x.parquet")
    assert problem.startswith("data: x.parquet asks for 0.0 GB of memory, and 0.0 GB are free; ")
    (problem,) = problems_of(tmp_path / "x.csv.gz")
    assert problem.startswith("data: x.csv.gz unpacks to more than 200 times its size")


@pytest.mark.parametrize("kind", ["dictionary", "categories", "ends", "fixed"])
def test_text_that_unfolds_to_more_than_the_memory_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """A text that is repeated, or repeated but for its end, takes next to nothing in a file, whatever its length."""
    text, options = pa.array(["x" * 10_000] * 1000), {"store_schema": False}
    if kind == "categories":
        text, options = text.dictionary_encode(), {}
    elif kind == "fixed":
        text = text.cast(pa.binary()).cast(pa.binary(10_000))
    elif kind == "ends":
        options = {"use_dictionary": False, "column_encoding": {"y": "DELTA_BYTE_ARRAY"}}
    path = tmp_path / "x.parquet"
    parquet.write_table(pa.table({"ds": range(1000), "y": text}), path, compression="zstd", **options)
    assert path.stat().st_size < 10_000

    monkeypatch.setattr(psutil, "virtual_memory", _Little)
    monkeypatch.setattr(parquet.ParquetFile, "read", None)
    (problem,) = problems_of(path)
    assert problem.startswith("data: x.parquet asks for 0.0 GB of memory, and 0.0 GB are free; ")


def test_errors_of_arrow_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise pa.ArrowMemoryError("malloc of size 1099511627776 failed\nat memory_pool.cc")

    pd.DataFrame({"ds": [1], "y": [2.0]}).to_parquet(tmp_path / "x.parquet")
    for method in ("read", "iter_batches", "__init__"):
        with monkeypatch.context() as patched:
            patched.setattr(parquet.ParquetFile, method, fail)
            with pytest.raises(InputError, match=r"^data: x\.parquet is damaged"):
                first_cells(DataFile(tmp_path / "x.parquet")) if method == "iter_batches" else read_table(
                    DataFile(tmp_path / "x.parquet")
                )


def test_many_columns_are_compared_once_each(tmp_path: Path) -> None:
    names = [f"c{i}" for i in range(200_000)]  # each with each: half an hour
    path = write(tmp_path, f"ds,y,{','.join(names)}\n")

    assert DataFile(path).names[2:] == names
    assert problems_of(path, ["ds", "nosuch"])[0].endswith("... (200002 in all))")


def test_a_line_that_is_no_row_is_not_read_to_its_end(tmp_path: Path) -> None:
    path = write(tmp_path, gzip.compress(b"x" * (9 << 20)), "x.csv.gz")

    assert "a line of more than 8 million characters" in problems_of(path)[0]


def test_columns_come_in_the_order_asked_for_from_every_format(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": [1, 2], "b": [0.1, 5.827000141143799], "c": ["x", "y, z"]})
    frame.to_csv(tmp_path / "x.csv", index=False)
    frame.to_csv(tmp_path / "x.csv.gz", index=False)
    frame.to_parquet(tmp_path / "x.parquet")
    for name in ("x.csv", "x.csv.gz", "x.parquet"):
        assert DataFile(tmp_path / name).names == ["a", "b", "c"]
        pd.testing.assert_frame_equal(read_table(DataFile(tmp_path / name), ["c", "b"]), frame[["c", "b"]])
        pd.testing.assert_frame_equal(read_table(DataFile(tmp_path / name)), frame)


@pytest.mark.parametrize(
    "text",
    ["\ufeffds, y\n1,2\n3,4\n", "ds,y\r\n1,2\r\n\r\n3,4", "\n\nds,y\n1,2\n3,4\n", 'ds,"y"\n1,"2"\n3,+4\n'],
    ids=["byte order mark", "carriage returns", "blank lines", "quotes"],
)
def test_harmless_variants(text: str, tmp_path: Path) -> None:
    frame = read_table(DataFile(write(tmp_path, text)))
    assert frame.astype("float64").to_dict("list") == {"ds": [1.0, 3.0], "y": [2.0, 4.0]}


def test_text_keeps_what_only_numbers_call_missing(tmp_path: Path) -> None:
    frame = read_table(DataFile(write(tmp_path, 'text,y\nNA,1\n"a ""q"", b\nc",NA\n,\n')))
    assert frame["text"].iloc[:2].tolist() == ["NA", 'a "q", b\nc']
    assert frame["text"].isna().tolist() == [False, False, True]
    assert frame["y"].isna().tolist() == [False, True, True]


def test_what_pandas_says_of_a_parquet_file_is_not_read(tmp_path: Path) -> None:
    """Found by scripts/fuzz: pandas' own description of its columns, damaged."""
    table = pa.table({"ds": [1, 2], "y": [3.0, 4.0]}).replace_schema_metadata({"pandas": b'{"index_columns": [\xe1'})
    parquet.write_table(table, tmp_path / "x.parquet")
    assert read_table(DataFile(tmp_path / "x.parquet"))["y"].tolist() == [3.0, 4.0]


def test_text_of_a_parquet_file_that_is_no_utf8_is_refused(tmp_path: Path) -> None:
    """Found by scripts/fuzz."""
    text = pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\2\0\0\0"), pa.py_buffer(b"\xe6a")])
    parquet.write_table(pa.table({"ds": text, "y": [1.0]}), tmp_path / "x.parquet")
    assert problems_of(tmp_path / "x.parquet") == ["data: x.parquet is damaged; write or download it again"]


def test_a_name_that_the_system_does_not_take_is_refused(tmp_path: Path) -> None:
    """Found by scripts/fuzz."""
    [problem] = problems_of(tmp_path / f"{'x' * 5000}.csv")
    assert "cannot be opened: File name too long" in problem
    assert len(problem) < 200


def test_a_type_that_shows_itself_late(tmp_path: Path) -> None:
    rows = 300_000  # more than one block of text
    path = write(tmp_path, "i,y\n" + "".join(f"{i},\n" for i in range(rows)) + f"{rows},0.5\n")
    frame = read_table(DataFile(path))
    assert frame["y"].iloc[-1] == 0.5
    assert frame["y"].isna().sum() == rows
    assert frame["i"].dtype == np.int64


def test_rows_are_file_lines(tmp_path: Path) -> None:
    path = write(tmp_path, 'ds,t\n\n1,"a\nb"\n2,c\n')
    assert file_rows(DataFile(path), [0, 1]) == {0: 3, 1: 5}
    pd.DataFrame({"y": [1, 2]}).to_parquet(tmp_path / "x.parquet")
    assert file_rows(DataFile(tmp_path / "x.parquet"), [1]) == {1: 2}


def packed(path: Path, **files: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


def test_packed_files_are_read_as_what_is_in_them(tmp_path: Path) -> None:
    text = "ds;y\n" + "".join(f"2020-01-{i + 1:02};{i},5\n" for i in range(20))
    plain = read_table(DataFile(write(tmp_path, text, "x.dat")))
    for name, content in {"x.csv.bz2": bz2.compress(text.encode()), "x.txt.xz": lzma.compress(text.encode())}.items():
        path = write(tmp_path, content, name)
        pd.testing.assert_frame_equal(read_table(DataFile(path)), plain)
        assert dataset_name(name) == "x"
    assert dataset_name("x.zip") == "x"
    archive = packed(tmp_path / "x.csv.zip", **{"x.csv": text, "folder/": "", "__MACOSX/x": "?"})
    pd.testing.assert_frame_equal(read_table(DataFile(archive)), plain)
    pd.testing.assert_frame_equal(read_table(DataFile(write(tmp_path, text, "noend"))), plain)

    with pytest.raises(InputError, match=r"two.zip holds 2 files \('a', 'b'\); unpack it, and name one of them"):
        read_table(DataFile(packed(tmp_path / "two.zip", a="x", b="y")))


@pytest.mark.parametrize(
    "name", ["y.npy", "x.npy", "xy.npz", "steps.npz", "x.arff", "x.jsonl", "x.xlsx", "texts", "rows"]
)
def test_a_file_of_another_kind_is_refused_with_the_line_that_makes_one_of_ours(tmp_path: Path, name: str) -> None:
    folder, labels = tmp_path / "a folder", np.arange(6) % 2
    (folder / "rows" / "up").mkdir(parents=True)
    (folder / "texts" / "up").mkdir(parents=True)
    (folder / "rows" / "up" / "a.csv").write_text("x\n1\n2\n")
    (folder / "texts" / "up" / "a.txt").write_text("good\n")
    np.save(folder / "y.npy", np.arange(5.0))
    np.save(folder / "x.npy", np.ones((6, 4)))
    np.savez(folder / "xy.npz", labels=labels, data=np.ones((6, 4)))
    np.savez(folder / "steps.npz", X=np.arange(48.0).reshape(6, 4, 2), y=labels)
    (folder / "x.arff").write_text("@relation r\n@attribute t0 numeric\n@attribute target {a,b}\n@data\n1,a\n2,b\n")
    (folder / "x.jsonl").write_text('{"ds": 1, "y": 2}\n')
    (folder / "x.xlsx").write_bytes(b"PK")

    with pytest.raises(InputError) as refused:
        read_table(DataFile(folder / name))

    (problem,) = refused.value.problems
    code = re.search(r'python -c "(.*)"', problem)
    assert code is not None
    if name == "x.xlsx":
        assert "; it reads the first sheet from its first row" in problem
        return
    exec(code[1], {})
    made = pd.read_csv((folder / name).with_suffix(".csv"))
    with pytest.raises(InputError, match=rf"to_csv\('[^']*{name}.csv'"):  # not over a file that is there
        read_table(DataFile(folder / name))
    columns = {
        **{"y.npy": ["y"], "x.npy": ["t0", "t1", "t2", "t3"], "xy.npz": ["t0", "t1", "t2", "t3", "label"]},
        **{"steps.npz": ["x0", "x1", "series_id", "label"], "x.arff": ["t0", "target"], "x.jsonl": ["ds", "y"]},
        **{"texts": ["text", "label"], "rows": ["x", "series_id", "label"]},
    }
    assert list(made.columns) == columns[name]
    if name == "steps.npz":
        assert made["x0"].tolist() == list(range(0, 48, 2))
        assert made.groupby("series_id")["label"].first().tolist() == labels.tolist()
