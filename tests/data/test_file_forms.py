"""Files of other forms than plain CSV: what is understood and said, and what only a key can settle."""

from __future__ import annotations

import datetime
import errno
import os
from pathlib import Path

import pytest

from optlstm.data.file_format import FileOptions
from optlstm.data.table import DataFile, file_rows, read_table
from optlstm.data.text_stream import breaks_off
from optlstm.errors import InputError

NUMBERS = [1234.5, 12.25, -3.0]
DAYS = [datetime.datetime(2020, 1, day) for day in (1, 2, 3)]


def write(folder: Path, text: str, name: str = "x.csv", encoding: str = "utf-8") -> Path:
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path


# name, text, encoding; the note behind "read as: "
FORMS: dict[str, tuple[str, str, str, str]] = {
    "semicolons": ("x.csv", "ds;y\n2020-01-01;1234.5\n2020-01-02;12.25\n2020-01-03;-3\n", "utf-8", "separated by ';'"),
    "decimal commas": (
        *("x.csv", "ds;y\n2020-01-01;1234,5\n2020-01-02;12,25\n2020-01-03;-3\n", "utf-8"),
        "separated by ';', decimal commas",
    ),
    "thousands points": (
        *("x.txt", "ds\ty\n2020-01-01\t1.234,5\n2020-01-02\t12,25\n2020-01-03\t-3\n", "utf-8"),
        "separated by tabs, decimal commas, thousands separators",
    ),
    "thousands commas": (
        *("x.csv", 'ds,y\n2020-01-01,"1,234.5"\n2020-01-02,12.25\n2020-01-03,-3\n', "utf-8"),
        "thousands separators",
    ),
    "thousands blanks": (
        *("x.csv", "ds;y\n2020-01-01;1\u00a0234,5\n2020-01-02;12,25\n2020-01-03;-3\n", "windows-1252"),
        "separated by ';', decimal commas, thousands separators, windows-1252",
    ),
    "units behind": (
        *("x.csv", "ds;y\n2020-01-01;1.234,5 €\n2020-01-02;12,25 €\n2020-01-03;-3 €\n", "utf-8"),
        "separated by ';', '€' of numbers left out, decimal commas, thousands separators",
    ),
    "units before": (
        *("x.csv", 'ds,y\n2020-01-01,"$1,234.50"\n2020-01-02,$12.25\n2020-01-03,-$3\n', "utf-8"),
        "'$' of numbers left out, thousands separators",
    ),
    "percent": (
        *("x.csv", "ds,y\n2020-01-01,1234.5%\n2020-01-02,12.25%\n2020-01-03,-3%\n", "utf-8"),
        "'%' of numbers left out",
    ),
    "kWh": (
        *("x.csv", "ds,y\n2020-01-01,1234.5 kWh\n2020-01-02,12.25 kWh\n2020-01-03,-3 kWh\n", "utf-8"),
        "'kWh' of numbers left out",
    ),
    "typographic minus": (
        *("x.csv", "ds,y\n2020-01-01,1234.5\n2020-01-02,12.25\n2020-01-03,\u22123\n", "utf-8"),
        "minus signs of all kinds",
    ),
    "brackets": (
        *("x.csv", "ds,y\n2020-01-01,1234.5\n2020-01-02,12.25\n2020-01-03,(3)\n", "utf-8"),
        "minus signs of all kinds",
    ),
    "a minus behind": (
        *("x.csv", "ds,y\n2020-01-01,1234.5\n2020-01-02,12.25\n2020-01-03,3-\n", "utf-8"),
        "minus signs of all kinds",
    ),
    "tabs": ("x.tsv", "ds\ty\n2020-01-01\t1234.5\n2020-01-02\t12.25\n2020-01-03\t-3\n", "utf-8", "separated by tabs"),
    "bars": ("x.csv", "ds|y\n2020-01-01|1234.5\n2020-01-02|12.25\n2020-01-03|-3\n", "utf-8-sig", "separated by '|'"),
    "blanks": (
        *("x.txt", "ds  y\n2020-01-01   1234.5 \n2020-01-02 \t12.25\n 2020-01-03  -3\n\n", "utf-8"),
        "separated by blanks",
    ),
    "quotes": (
        *("x.csv", '"ds";"y"\n"2020-01-01";"1234,5"\n"2020-01-02";"12,25"\n"2020-01-03";"-3"\n', "utf-8"),
        "separated by ';', decimal commas",
    ),
    "a separator that is named": (
        *("x.csv", "sep=;\nds;y\n2020-01-01;1234,5\n2020-01-02;12,25\n2020-01-03;-3\n", "utf-8"),
        "separated by ';', decimal commas, 1 line above the header left out",
    ),
    "units between blanks": (
        *("x.txt", "ds  y\n-   m/s\n2020-01-01 1234.5\n2020-01-02 12.25\n2020-01-03 -3\n", "utf-8"),
        "separated by blanks, row 2 left out, it holds units ('-', 'm/s')",
    ),
    "utf-16": (
        *("x.csv", "ds;y\n2020-01-01;1234,5\n2020-01-02;12,25\n2020-01-03;-3\n", "utf-16"),
        "separated by ';', decimal commas, utf-16",
    ),
    "a title as wide as the table": (
        *("x.csv", "Sales,,\nIn EUR,,\n,,\nds,y,z\n2020-01-01,1234.5,\n2020-01-02,12.25,\n2020-01-03,-3,\n", "utf-8"),
        "3 lines above the header left out",
    ),
    "separators above the header": (
        *("x.csv", ",\n,\nds,y\n2020-01-01,1234.5\n2020-01-02,12.25\n2020-01-03,-3\n", "utf-8"),
        "2 lines above the header left out",
    ),
    "notes at the end": (
        *("x.csv", "ds;y;z\n2020-01-01;1234.5;\n2020-01-02;12.25;\n2020-01-03;-3;\n;;\n_\nAmt\n", "utf-8"),
        "separated by ';', 2 rows of a single cell at the end left out ('_', 'Amt'), 1 empty row at the end left out",
    ),
    "comments": (
        *("x.csv", "# made by, a station\n#\n\nds,y\n2020-01-01,1234.5\n2020-01-02,12.25\n2020-01-03,-3\n", "utf-8"),
        "2 lines above the header left out",
    ),
    "a header in a comment": (
        *("x.txt", "# made by\n# ds y\n2020-01-01 1234.5\n2020-01-02 12.25\n2020-01-03 -3\n", "utf-8"),
        "separated by blanks, 1 line above the header left out",
    ),
    "lines above the header": (
        *("x.csv", 'In "Köln"\nHeight,53.0,m\n\nds,y\n2020-01-01,1234.5\n2020-01-02,12.25\n2020-01-03,-3\n', "utf-8"),
        "2 lines above the header left out",
    ),
    "units": (
        *("x.csv", "ds,y\n[UTC],°C\n2020-01-01,1234.5\n2020-01-02,12.25\n2020-01-03,-3\n", "windows-1252"),
        "windows-1252, row 2 left out, it holds units ('[UTC]', '°C')",
    ),
    "empty rows at the end": (
        *("x.csv", "ds;y;z;\n2020-01-01;1234,5;;\n2020-01-02;12,25;1;\n2020-01-03;-3;;\n;;;\n;;;\n", "utf-8"),
        "separated by ';', decimal commas, 2 empty rows at the end left out",
    ),
    "trailing separators": ("x.csv", "ds,y,,\n2020-01-01,1234.5,,\n2020-01-02,12.25,,\n2020-01-03,-3,,\n", "utf-8", ""),
    "unread columns": (
        *("x.csv", "y,ds,\x80\x81\x82,a,a\n1234.5,2020-01-01,ê\x81,1,2\n12.25,2020-01-02,,,\n-3,2020-01-03,,,\n"),
        *("latin-1", ""),
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", FORMS)
def test_forms_that_are_understood(kind: str, tmp_path: Path) -> None:
    name, text, encoding, note = FORMS[kind]
    file = DataFile(write(tmp_path, text, name, encoding))

    frame = read_table(file, ["ds", "y"], times=["ds"])

    assert frame["ds"].tolist() == DAYS
    assert frame["y"].tolist() == NUMBERS
    assert file.notes == ((f"data: {name} read as: {note}",) if note else ())
    first = next(i for i, line in enumerate(text.splitlines()) if "2020-01-01" in line)
    assert file_rows(file, [0, 2]) == {0: first + 1, 2: first + 3}


@pytest.mark.parametrize(
    ("rows", "separator"),
    [
        ("2020-01-01,1234.5\n2020-01-02,12.25\n2020-01-03,-3.0\n", ","),
        ("2020-01-01;1234,5;0\n2020-01-02;12,25;0\n2020-01-03;-3;0\n", ";"),
        ("2020-01-01 1234,5 \n2020-01-02 12,25\n2020-01-03 -3,0\n", None),
        ("2020-01-01\t1234.5\n2020-01-02\t12.25\n2020-01-03\t-3\n", "\t"),
    ],
)
def test_rows_of_times_and_numbers_are_no_header(rows: str, separator: str | None, tmp_path: Path) -> None:
    file = DataFile(write(tmp_path, rows))
    if separator is None:  # 2020-01-01 1234 and 5 may be two columns
        with pytest.raises(InputError, match=r"x\.csv may be separated by commas and blanks; --set data\.separator="):
            read_table(file)
        file = DataFile(file.path, FileOptions(separator=" "))
    frame = read_table(file, ["c1", "c2"])
    assert (frame["c1"].tolist(), frame["c2"].tolist()) == (DAYS, NUMBERS)


def test_a_file_without_a_header_has_numbered_columns(tmp_path: Path) -> None:
    file = DataFile(write(tmp_path, "1 1 -0.7 100  \n1 2 0.25 100\n", "train.txt"))
    assert read_table(file, ["c3", "c2"]).to_dict("list") == {"c3": [-0.7, 0.25], "c2": [1, 2]}
    assert file.notes == ("data: train.txt read as: separated by blanks, no header (columns c1 to c4)",)


def test_a_column_without_a_name_is_called_as_pandas_calls_it(tmp_path: Path) -> None:
    file = DataFile(write(tmp_path, ",y\n2020-01-01,1\n"))
    assert file.names == ["Unnamed: 0", "y"]
    assert read_table(file, ["Unnamed: 0"])["Unnamed: 0"].tolist() == DAYS[:1]


def test_western_text_is_read_where_the_first_lines_do_not_show_it(tmp_path: Path) -> None:
    rows = "".join(f"{i},a\n" for i in range(20_000))
    file = DataFile(write(tmp_path, f"ds,city\n{rows}20000,Zürich\n", encoding="latin-1"))
    assert read_table(file)["city"].iloc[-1] == "Zürich"
    assert file.notes == ("data: x.csv read as: windows-1252",)


WEATHER = "date,SWDR (W/m²),PAR (µmol/m²/s),PM (µg/m³),T (°C)\n2020-01-01,1,2,3,4\n"


@pytest.mark.parametrize(
    ("text", "encoding", "told"),
    [
        (WEATHER, "latin-1", True),
        ("ds,größe,café\n1,2,3\n", "cp1252", True),
        ("ds,wartość,ł\n1,2,3\n", "cp1250", False),
        ("ds,дБ,y\n1,2,3\n", "cp1251", False),
        ("ds,température,père\n1,2,3\n", "latin-1", False),
        ("ds,dział,y\n1,2,3\n", "iso8859-2", False),
    ],
)
def test_only_what_is_the_same_in_all_code_pages_is_western_for_sure(
    text: str, encoding: str, told: bool, tmp_path: Path
) -> None:
    file = DataFile(write(tmp_path, text, encoding=encoding))
    if told:
        assert ",".join(file.names) == text.splitlines()[0]
        return
    with pytest.raises(InputError, match=r"not UTF-8, .*--set data\.encoding="):
        read_table(file)
    named = DataFile(file.path, FileOptions(encoding=encoding))
    assert ",".join(named.names) == text.splitlines()[0]


@pytest.mark.parametrize(
    ("cells", "separator", "thousands"),
    [
        (["1.234", "999"], ";", "."),
        (["1,234", "-2,500"], "\t", ","),
        (['"1,234"', "999"], ",", ","),
    ],
)
def test_what_may_be_thousands_or_decimals_is_asked_for(
    cells: list[str], separator: str, thousands: str, tmp_path: Path
) -> None:
    path = write(tmp_path, f"ds{separator}y\n" + "".join(f"{i}{separator}{cell}\n" for i, cell in enumerate(cells)))
    with pytest.raises(InputError) as caught:
        read_table(DataFile(path), ["y"])
    first = cells[0].strip('"')
    keys = f'--set data.thousands="{thousands}" or --set data.decimal="{thousands}" says which'
    assert caught.value.problems == [f"data: column 'y' of x.csv: '{first}' may be 1234 or 1.234; {keys}"]

    in_groups = read_table(DataFile(path, FileOptions(thousands=thousands)), ["y"])["y"].tolist()
    decimal = read_table(DataFile(path, FileOptions(decimal=thousands)), ["y"])["y"].tolist()
    plain = [cell.strip('"').replace(thousands, "") for cell in cells]
    assert in_groups == [int(cell) for cell in plain]
    assert decimal == [float(cell.strip('"').replace(thousands, ".")) for cell in cells]


def test_one_column_tells_the_marks_of_another(tmp_path: Path) -> None:
    path = write(tmp_path, "ds;y;z\n2020.01;1.234;3,5\n2020.02;999;4,25\n")
    frame = read_table(DataFile(path), ["ds", "y", "z"], times=["ds"])
    assert frame.to_dict("list") == {"ds": [2020.01, 2020.02], "y": [1234, 999], "z": [3.5, 4.25]}
    with pytest.raises(InputError, match=r"'1\.234' may be"):
        read_table(DataFile(path), ["ds", "y"], times=["ds"])


@pytest.mark.parametrize(
    ("options", "text", "names"),
    [
        (FileOptions(header=False), "a,b\n1,2\n", ["c1", "c2"]),
        (FileOptions(header=True), "1,2\n3,4\n", ["1", "2"]),
        (FileOptions(header=3), "x,y\n1,2\nds,y\n3,4\n", ["ds", "y"]),
        (FileOptions(separator=";"), "a,b;c\n1,2;3\n", ["a,b", "c"]),
        (FileOptions(encoding="cp1251"), "дБ,y\n1,2\n", ["дБ", "y"]),
    ],
)
def test_keys_decide(options: FileOptions, text: str, names: list[str], tmp_path: Path) -> None:
    file = DataFile(write(tmp_path, text, encoding=options.encoding or "utf-8"), options)
    assert file.names == names
    assert len(read_table(file)) == text.count("\n") - file.form.data_line + 1


@pytest.mark.parametrize(
    ("text", "encoding", "words"),
    [
        ("ds,y,y\n1,2,3\n", "utf-8", "more than one column is named 'y'"),
        ("ds,y\n1,2\n", "utf-16", "x.csv is not ascii text; name its encoding"),
    ],
)
def test_what_is_refused(text: str, encoding: str, words: str, tmp_path: Path) -> None:
    file = DataFile(write(tmp_path, text, encoding=encoding), FileOptions(encoding="ascii"))
    with pytest.raises(InputError, match=words):
        read_table(file)


@pytest.mark.parametrize("end", ["2020-01-04", "17", "Note\n2020-01-04,5"])
def test_a_row_that_breaks_off_is_no_note(end: str, tmp_path: Path) -> None:
    path = write(tmp_path, f"ds,y\n2020-01-01,1\n2020-01-02,2\n2020-01-03,3\n{end}\n")
    with pytest.raises(InputError, match=r"1 row\(s\) without the 2 fields of the header \(row 5 has 1\)"):
        read_table(DataFile(path))


def test_a_header_of_years_below_titles_is_found(tmp_path: Path) -> None:
    lines = ['"Source","Bank",', "", '"Updated","2023-12-18",', "", "Country,Code,2000,2001,2002,"]
    path = write(tmp_path, "\n".join([*lines, *(f"C{i},X{i},1.5,2.5,3.5," for i in range(4))]) + "\n")
    assert DataFile(path).names == ["Country", "Code", "2000", "2001", "2002", "Unnamed: 5"]


def test_lakhs_and_crores(tmp_path: Path) -> None:
    file = DataFile(write(tmp_path, 'ds,y\n1,"12,34,501.50"\n2,"1,23,45,678"\n3,7\n'))
    assert read_table(file, ["y"])["y"].tolist() == [1234501.5, 12345678, 7]


@pytest.mark.parametrize("cells", ["5%,5", "5 kg,5 g", "10A,20B", "V1,V2", "2:30,2:40", "5;x,6;x", "(see 3),(see 4)"])
def test_what_has_not_one_unit_stays_text(cells: str, tmp_path: Path) -> None:
    file = DataFile(write(tmp_path, "ds,y\n" + "".join(f"{i},{cell}\n" for i, cell in enumerate(cells.split(",")))))
    assert read_table(file, ["y"])["y"].astype("str").tolist() == cells.split(",")


def test_two_tables_in_one_file_are_no_header_and_rows(tmp_path: Path) -> None:
    path = write(tmp_path, "ds,y\n1,2\n2,3\n3,4\nds,y,z\n4,5,6\n5,6,7\n6,7,8\n")
    with pytest.raises(InputError, match=r"4 row\(s\) without the 2 fields of the header"):
        read_table(DataFile(path))


def test_only_rows_that_are_all_empty_are_left_out(tmp_path: Path) -> None:
    file = DataFile(write(tmp_path, "ds,y,z\n1,2,3\n,,4\n,,\n"))
    assert len(read_table(file, ["ds", "y"], times=["ds"])) == 2
    assert file.notes == ("data: x.csv read as: 1 empty row at the end left out",)
    assert len(read_table(file, ["y"])) == 3


def test_decimal_commas_in_quotes_make_points_unsure(tmp_path: Path) -> None:
    path = write(tmp_path, 'ds,y,z\n0,"1.234","3,5"\n1,"999","4,25"\n')
    with pytest.raises(InputError, match=r"column 'y' of x\.csv: '1\.234' may be 1234 or 1\.234"):
        read_table(DataFile(path), ["y"])
    frame = read_table(DataFile(path, FileOptions(decimal=",")), ["y", "z"])
    assert frame.to_dict("list") == {"y": [1234, 999], "z": [3.5, 4.25]}


@pytest.mark.parametrize(
    ("text", "names", "rows"),
    [
        ("#ds,y\n1,2\n2,3\n", ["#ds", "y"], 2),
        ("#text,label\nfoo,a\nbar,b\n", ["#text", "label"], 2),
        ("ds,y\r1,2\r2,3\r", ["ds", "y"], 2),
        ('"d\ns",y\n1,2\n2,3\n', ["d\ns", "y"], 2),
        ("a;b,c\n1;x,2\n2;x,3\n", ["a;b", "c"], 2),
        ("my text\na word\n", ["my text"], 1),
        ("label,0,1\na,1,2\nb,2,3\nb,2,3\n", ["label", "0", "1"], 3),
        ("label,t0,t1\na,?,?\nb,1,2\nb,2,3\n", ["label", "t0", "t1"], 3),
        ("ds,kind,y\n0,a,1\n1,b,2\n2,b,2\n", ["ds", "kind", "y"], 3),
    ],
)
def test_plain_files_are_read_as_they_always_were(text: str, names: list[str], rows: int, tmp_path: Path) -> None:
    file = DataFile(write(tmp_path, text))
    assert (file.names, len(read_table(file)), file.notes) == (names, rows, ())


def test_a_header_that_was_taken_for_units_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, "Station;Berlin\n\nds;y\n\n0;1,5\n1;2\n2;3\n")
    with pytest.raises(InputError, match=r"'y' not found .*\(columns: Station, Berlin; row 3 was taken for units\)"):
        read_table(DataFile(path), ["y"])
    assert read_table(DataFile(path, FileOptions(header=3)), ["y"])["y"].tolist() == [1.5, 2, 3]


@pytest.mark.parametrize("text", ['"Good" film', '"good film', 'a "good" film'])
def test_quotes_between_tabs_are_text_where_they_are_around_no_cell(text: str, tmp_path: Path) -> None:
    rows = [f"{['ham', 'spam'][i % 2]}\t{text if i % 4 == 2 else 'plain'} {i}" for i in range(40)]
    file = DataFile(write(tmp_path, "\n".join(["label\ttext", *rows]) + "\n", "x.tsv"))

    frame = read_table(file, texts=["text"])

    assert frame["text"].tolist() == [row.partition("\t")[2] for row in rows]
    assert ("quotes are part of the text" in "".join(file.notes)) == text.startswith('"')


def test_quotes_between_tabs_may_be_around_cells(tmp_path: Path) -> None:
    text = 'label\ttext\nham\t"two\nlines"\nspam\t"a\ttab"\nham\t"said ""so"""\n'

    frame = read_table(DataFile(write(tmp_path, text, "x.tsv")))

    assert frame["text"].tolist() == ["two\nlines", "a\ttab", 'said "so"']


def test_a_disk_that_fails_is_not_called_a_damaged_file() -> None:
    failed, damaged = OSError(errno.EIO, os.strerror(errno.EIO)), OSError("Invalid data stream")

    assert breaks_off(failed) == "cannot be read: Input/output error"
    assert "damaged" in breaks_off(damaged)
