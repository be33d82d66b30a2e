"""Files of kinds that are not read, and the line of Python that converts one to CSV."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

import numpy as np

_READERS = {  # of pandas
    **dict.fromkeys((".xlsx", ".xls", ".xlsm", ".ods"), "read_excel({name!r})"),
    **dict.fromkeys((".jsonl", ".ndjson"), "read_json({name!r}, lines=True)"),
    ".json": "read_json({name!r})",
    ".feather": "read_feather({name!r})",
    ".dta": "read_stata({name!r})",
}
_EXCEL = {".xlsx": "openpyxl", ".xlsm": "openpyxl", ".xls": "xlrd", ".ods": "odfpy"}  # packages that pandas needs
_MODULES = {"odfpy": "odf"}
_SHEETS = "; it reads the first sheet from its first row, unless sheet_name= and skiprows= say otherwise"
_ARFF = (
    "from scipy.io import arff; import pandas as pd; pd.DataFrame(arff.loadarff({name!r})[0])"
    ".map(lambda cell: cell.decode() if isinstance(cell, bytes) else cell)"
)
_FOLDERS = {
    ".txt": "pd.DataFrame([(f.read_text(), f.parent.name) for f in files], columns=['text', 'label'])",
    ".csv": "pd.concat([pd.read_csv(f).assign(series_id=f.parent.name + '/' + f.stem, label=f.parent.name) "
    "for f in files])",
}
_LOOKED_AT = 100  # files of a folder


def conversion(path: Path) -> str | None:
    """`python -c "..."`, which writes a CSV file, for a file of another kind or a folder with one for each class.

    None where no line of it does.
    """
    suffix, name = path.suffix.lower(), str(path)
    if path.is_dir():
        code = _of_folder(path)
    elif suffix in _READERS:
        code = f"import pandas as pd; pd.{_READERS[suffix].format(name=name)}"
    elif suffix == ".arff":
        code = _ARFF.format(name=name)
    else:
        code = _of_arrays(path) if suffix in (".npy", ".npz") else None
    if code is None:
        return None
    target = path.with_suffix(".csv")
    target = path.with_name(f"{path.name}.csv") if target.exists() else target
    line = f'python -c "{code}.to_csv({str(target)!r}, index=False)"'
    if suffix not in _EXCEL:
        return line
    package = _EXCEL[suffix]
    missing = find_spec(_MODULES.get(package, package)) is None
    return line + (f" (after: pip install {package})" if missing else "") + _SHEETS


def _of_folder(path: Path) -> str | None:
    """Of a folder with a folder for each class."""
    for suffix, table in _FOLDERS.items():
        if next(islice(path.glob(f"*/*{suffix}"), 1), None) is not None:
            files = f"sorted(pathlib.Path({str(path)!r}).glob('*/*{suffix}'))"
            return f"import pandas as pd, pathlib; files = {files}; {table}"
    return None


def _of_arrays(path: Path) -> str | None:
    """Of NumPy's arrays: a series; sequences [n, steps] or [n, steps, channels], and their labels [n] in an .npz."""
    shapes: Mapping[str, tuple[int, ...]] = {}
    with suppress(OSError, ValueError, zipfile.BadZipFile, KeyError):
        shapes = _shapes(path) if path.suffix.lower() == ".npz" else {"": np.load(path, mmap_mode="r").shape}
    values = max(shapes, key=lambda key: len(shapes[key]), default=None)
    if values is None or not 1 <= len(shapes[values]) <= 3:
        return None
    array = f"a[{values!r}]" if values else "a"
    n, labels = shapes[values][0], [key for key in shapes if key != values and shapes[key][:1] == shapes[values][:1]]
    label = f"a[{labels[0]!r}].ravel()" if labels and n else ""
    start = f"import numpy as np, pandas as pd; a = np.load({str(path)!r}); "
    if len(shapes[values]) == 1:
        return f"{start}pd.DataFrame({{'y': {array}}})"
    if len(shapes[values]) == 2:
        return f"{start}pd.DataFrame({array}).add_prefix('t')" + (f".assign(label={label})" if label else "")
    _, steps, channels = shapes[values]
    named = f"series_id=np.arange({n}).repeat({steps})" + (f", label={label}.repeat({steps})" if label else "")
    return f"{start}pd.DataFrame({array}.reshape(-1, {channels})).add_prefix('x').assign({named})"


def _shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Of the arrays of an .npz by name; none of them is read."""
    shapes = {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist()[:_LOOKED_AT]:
            with archive.open(member) as file:
                version = np.lib.format.read_magic(file)
                header = (
                    np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                )
                shapes[member.removesuffix(".npy")] = header(file)[0]
    return shapes
