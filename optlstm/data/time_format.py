"""How the cells of a time column are written: told from all of them together, read, and written again.

A format is one of strptime (with `%q`, the quarter), `integer` (plain counts), `excel` (days since 1899), or `unix_s`,
`unix_ms`, `unix_us`, `unix_ns` (since 1970, in UTC). None stands for ISO 8601, and for what the file itself holds as
times.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pandas as pd

from optlstm.data.frequency import date_steps
from optlstm.util.arrays import Floats, Integers
from optlstm.util.format import quoted
from optlstm.util.time_formats import EXCEL, INTEGER, UNIX

# Of whole numbers, by their digits; what a row of each is.
DIGITS = {6: "%Y%m", 8: "%Y%m%d", 10: "%Y%m%d%H", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
_ROWS = {"%Y%m": "months", "%Y%m%d": "days", "%Y%m%d%H": "hours", "%Y%m%d%H%M": "minutes", "%Y%m%d%H%M%S": "seconds"}
_ROWS |= {"%G%V": "weeks", "%Y%q": "quarters"}
_DIRECTIVES = {"%Y": "YYYY", "%m": "MM", "%d": "DD", "%H": "HH", "%M": "MM", "%S": "SS"}
_DIRECTIVES |= {"%G": "YYYY", "%V": "WW", "%q": "Q", "%y": "YY"}
# Other digits of dates, which are taken for one only where that makes their steps equal; and their widest number.
_BY_STEPS = {"%G%V": 220_053, "%Y%q": 22_004}
_LIKELY = {"%d%m%Y": 31_122_200, "%m%d%Y": 12_312_200, "%y%m%d": 991_231, "%y%m": 9_912} | _BY_STEPS
_FIRST_YEAR, _LAST_YEAR = 1800, 2200
_FIRST_EXCEL, _LAST_EXCEL = 20_000, 50_000  # Modified Julian Dates are above, from 1995 on
_NO_EXCEL = 120_000  # 2228
_LEAST = {EXCEL: _FIRST_EXCEL, "%y%m": 1}
_UNIX_FROM, _UNIX_TO = 10**8, 7_258_118_400  # seconds: 1973, below which counts are likelier, and 2200
_UNIX_ODD_FROM = 10**9  # where not all are whole minutes
_US = 10**6
_CHUNK = 1 << 18  # rows whose digits are taken apart together
_FIRST = 500  # numbers
_SAMPLE = 20_000  # texts that show whether each stands there repeatedly
_SHORT_YEAR = re.compile(r"(\s*\d{1,2}([ ./-]?)[A-Za-z]{3,}\2)(?=\d\d(?!\d))")
_ZONE = r"\d:\d\d.*(?:Z|[+-]\d\d(?::?\d\d)?)\s*$"
_MIDNIGHT = r"(?<=[ T])24(?=:00(?::00(?:\.0+)?)?(?![\d:.]))"  # the end of a day
# Texts that stand for months, quarters and weeks, of which pandas guesses none.
_COARSE = (
    (r"\d{4}([ ./-]?)[A-Za-z]{3}", "%Y{}%b"),
    (r"\d{4}([ ./-]?)[A-Za-z]{3,}", "%Y{}%B"),
    (r"[A-Za-z]{3}([ ./-]?)\d{4}", "%b{}%Y"),
    (r"[A-Za-z]{3,}([ ./-]?)\d{4}", "%B{}%Y"),
    (r"\d{1,2}([./-])\d{4}", "%m{}%Y"),
    (r"\d{4}(M)\d\d", "%Y{}%m"),
    (r"\d{4}([ ./-]?)[Qq]\d", "%Y{}Q%q"),
    (r"[Qq]\d([ ./-]?)\d{4}", "Q%q{}%Y"),
    (r"\d{4}([ -]?)[Ww]\d\d", "%G{}W%V"),
    (r"KW\d{1,2}([ /-])\d{4}", "KW%V{}%G"),
    (r"KW \d{1,2}([ /-])\d{4}", "KW %V{}%G"),
    (r"\d{4}(年)\d{1,2}月", "%Y年%m月"),
    (r"\d{4}(年)\d{1,2}月\d{1,2}日", "%Y年%m月%d日"),
)
# Forms that are not read unasked: they may be another, or are rare.
_NAMEABLE = ("%y-%b", "%y %b", "%V/%G", "%Y-%j", "%Y%j", "%G-W%V-%u", "%a, %d %b %Y", "%d/%b/%Y:%H:%M:%S %z", "FY%Y")
_MONTH_AND_YEAR = r"[A-Za-z]{3}([ ./'-])\d\d"  # Jan-04, of which two months at least show that 04 is no day
_SHORT = r"\d{1,2}([./-])\d{1,2}\1\d\d(?:( +)\d{1,2}:\d\d(:\d\d)?( *[AaPp][Mm])?)?"
_Mask = npt.NDArray[np.bool_]


def whole_number_format(numbers: Integers) -> tuple[str | None, _Mask]:
    """The format of whole numbers that are times, and which of them are none; None: they are plain counts.

    Digits of a date are taken for one where every number is a date of 1800 to 2200. Numbers most of which are dates
    are ambiguous, unless they are evenly spaced: then they are counts that happen to pass through such numbers.
    """
    low, high, none = int(numbers.min()), int(numbers.max()), np.zeros(len(numbers), dtype=bool)
    mostly = none
    for width, form in DIGITS.items():
        scale = 10 ** (width - 4)
        if low >= _FIRST_YEAR * scale and high < (_LAST_YEAR + 1) * scale:
            wrong = np.isnat(_of_digits(numbers, form))
            if not wrong.any() and (low < high or form == "%Y%m%d"):
                return form, wrong
            if 2 * np.count_nonzero(wrong) < len(numbers) and low < high:
                if len(np.unique(np.diff(numbers))) == 1:
                    return None, none
                mostly = wrong
    for form in (*_BY_STEPS, EXCEL):
        if _other_steps(numbers, form) == 0:
            return form, none
    if mostly.any():
        return None, mostly
    for form, per_second in UNIX.items():
        inside = low >= _UNIX_FROM * per_second and high < _UNIX_TO * per_second
        if inside and (low >= _UNIX_ODD_FROM * per_second or not (numbers % (60 * per_second)).any()):
            return (form if per_second <= _US or not (numbers % 1000).any() else None), none
    return None, none


def likely_formats(numbers: Integers) -> list[str]:
    """The formats that would make dates, in fewer unlike steps, of whole numbers that are not certainly dates."""
    return [form for form in _LIKELY if _other_steps(numbers, form) is not None]


def may_be_excel(numbers: Integers | Floats) -> bool:
    """Whether all are numbers of days as Excel counts them, from 1954 to 2036."""
    return bool(len(numbers) and numbers.min() >= _FIRST_EXCEL and numbers.max() < _LAST_EXCEL)


def nameable_format(text: pd.Series[str]) -> str | None:
    """A format that is not taken unasked, and reads all of these texts."""
    first = text.iloc[:_FIRST]
    return next((form for form in _NAMEABLE if not _parsed(first, form, utc="%z" in form).hasnans), None)


def digits_in_words(form: str) -> str:
    """`YYYYMM`."""
    return re.sub("%.", lambda match: _DIRECTIVES[match[0]], form)


def read_numbers(numbers: Integers | Floats, form: str) -> pd.Index:
    """Whole numbers (of `excel` any) in this format; NaT where one is no time of it. Unix times come in UTC."""
    if form == INTEGER:
        return pd.Index(numbers)
    if form == EXCEL:
        days = np.where((numbers > 0) & (numbers < _NO_EXCEL), numbers, np.nan)
        return (pd.Timestamp("1899-12-30") + pd.to_timedelta(days, unit="D")).round("s").as_unit("us")
    numbers = np.asarray(numbers, dtype=np.int64)
    if form in UNIX:
        per_second = UNIX[form]
        ticks = numbers * (_US // per_second) if per_second <= _US else numbers // (per_second // _US)
        fits = np.abs(numbers // per_second) < 2 * _UNIX_TO
        return pd.DatetimeIndex(np.where(fits, ticks.view("M8[us]"), np.datetime64("NaT", "us"))).tz_localize("UTC")
    if form in DIGITS.values():
        return pd.DatetimeIndex(_of_digits(numbers, form))
    text = pd.Series(numbers).astype("str")
    if re.fullmatch("(%[YGymdHMSVq])+", form):  # 1012020 is 01012020
        text = text.str.zfill(len(digits_in_words(form)))
    return read_texts(text, form)


def read_texts(text: pd.Series[str], form: str) -> pd.DatetimeIndex:
    """Texts in this format, in UTC where it has `%z`; NaT where one is no time of it.

    Raises:
        ValueError: it is no format.
    """
    if form in UNIX or form in DIGITS.values():
        numbers = pd.to_numeric(text.where(text.str.fullmatch(r"\s*-?\d{1,18}\s*", na=False)), errors="coerce")
        times = read_numbers(numbers.fillna(0).to_numpy(dtype=np.int64), form)
        return pd.DatetimeIndex(times.where(numbers.notna()))
    distinct, codes = _distinct(text)
    times = _parsed(distinct, form, utc="%z" in form)
    return times if codes is None else times[codes]


def parse_times(text: pd.Series[str], day_first: bool | None = None) -> tuple[pd.DatetimeIndex, str | None]:
    """The times of a text column in microseconds, in UTC where they carry offsets, and their format.

    NaT where one cannot be read. ISO 8601 is tried first, then the formats that the first texts suggest.

    Args:
        day_first: whether the day stands before the month, where both may be meant.

    Raises:
        ValueError: only some texts carry an offset, or day and month cannot be told apart.
    """
    distinct, codes = _distinct(text)
    times, form = _parse(distinct, day_first)
    return (times if codes is None else times[codes]), form


def written(times: pd.DatetimeIndex, form: str) -> npt.NDArray[np.generic]:
    """The times in this format again: whole numbers of those, else texts."""
    if form in UNIX:
        ticks, per_second = times.as_unit("us").asi8, UNIX[form]
        return np.asarray(ticks // (_US // per_second) if per_second <= _US else ticks * (per_second // _US))
    if form == EXCEL:
        days = (times - pd.Timestamp("1899-12-30")) / pd.Timedelta(days=1)
        return np.asarray(np.round(days, 10) if (days % 1).any() else days.astype("int64"))
    if form in DIGITS.values():
        numbers = np.zeros(len(times), dtype=np.int64)
        for part in ("year", "month", "day", "hour", "minute", "second")[: len(form) // 2]:
            numbers = numbers * 100 + getattr(times, part).to_numpy()
        return numbers
    codes, distinct = pd.factorize(times)
    if "%q" in form:
        texts = [form.replace("%q", str(time.quarter)).replace("%Y", f"{time.year:04d}") for time in distinct]
    else:
        texts = list(pd.DatetimeIndex(distinct).strftime(form))
    if form in _BY_STEPS:
        return np.array(texts, dtype=np.int64)[codes]
    return np.array(texts, dtype=object)[codes]


def is_of_numbers(form: str | None) -> bool:
    """Whether a column of this format holds whole numbers."""
    return form is not None and (is_of_digits(form) or form in _BY_STEPS or form == EXCEL)


def is_of_digits(form: str) -> bool:
    """Whether whole numbers show this format themselves, or are counts."""
    return form == INTEGER or form in UNIX or form in DIGITS.values()


def has_day_first(form: str | None) -> bool | None:
    """Whether a format has the day before the month; None where it has not both, or begins with the year."""
    at_day, at_month = (form or "").find("%d"), (form or "").find("%m")
    return None if min(at_day, at_month) < 0 or re.match("%[Yy]", str(form)) else at_day < at_month


def in_words(form: str, cell: object, time: object) -> str:
    """`YYYYMM, read as months`; or `texts such as '1991 Jul', read as 1991-07-01`, of the first cell."""
    shown = str(time).removesuffix(" 00:00:00")
    if form in UNIX:
        units = {"unix_s": "seconds", "unix_ms": "milliseconds", "unix_us": "microseconds", "unix_ns": "nanoseconds"}
        return f"Unix {units[form]}, read as times in UTC"
    if form == EXCEL:
        return f"dates as Excel numbers them ({cell} is {shown})"
    if form in _ROWS:
        return f"{digits_in_words(form)}, read as {_ROWS[form]}"
    order = {True: "day first, ", False: "month first, ", None: ""}[has_day_first(form)]
    return f"texts such as {quoted(cell)}, read as {shown} ({order}{form})"


def _other_steps(numbers: Integers, form: str) -> int | None:
    """How many steps are unlike most, where these are dates that have fewer of them than the numbers have; or None."""
    low, high, most = int(numbers.min()), int(numbers.max()), _LIKELY.get(form, _LAST_EXCEL)
    least = _FIRST_YEAR * most // _LAST_YEAR if form in _BY_STEPS else _LEAST.get(form, 10_101)
    if low < least or high > most:
        return None
    if form == "%Y%q" and not np.isin(numbers % 10, (1, 2, 3, 4)).all():
        return None
    if read_numbers(numbers[:_FIRST], form).hasnans:  # as counts soon show
        return None
    distinct = np.unique(numbers)
    _, counts = np.unique(np.diff(distinct), return_counts=True)
    if len(counts) < 2:
        return None
    times = read_numbers(distinct, form)
    if times.hasnans or not times.is_unique:
        return None
    steps = date_steps(pd.DatetimeIndex(times.sort_values()))
    others = len(steps.gaps) + len(steps.uneven)
    return others if others < int(counts.sum() - counts.max()) else None


def _of_digits(numbers: Integers, form: str) -> npt.NDArray[np.datetime64]:
    """Numbers whose digits are a date: [n] in microseconds, NaT where they are none. Hour 24 is the next day's 0."""
    times = np.empty(len(numbers), dtype="M8[us]")
    for at in range(0, len(numbers), _CHUNK):
        rest, parts = numbers[at : at + _CHUNK], dict[str, Integers]()
        for directive in reversed(re.findall("%.", form)[1:]):
            rest, parts[directive] = np.divmod(rest, 100)
        nothing = np.zeros(len(rest), dtype=np.int64)
        month, day = parts["%m"], parts.get("%d", nothing + 1)
        hour, minute, second = (parts.get(directive, nothing) for directive in ("%H", "%M", "%S"))
        valid = (rest >= _FIRST_YEAR) & (rest <= _LAST_YEAR) & (month >= 1) & (month <= 12)
        months = np.where(valid, (rest - 1970) * 12 + month - 1, 0)
        first, end = (shifted.astype("M8[M]").astype("M8[D]") for shifted in (months, months + 1))
        valid &= (day >= 1) & (day <= (end - first).astype(np.int64)) & (minute < 60) & (second < 60)
        valid &= (hour < 24) | ((hour == 24) & (minute == 0) & (second == 0))
        of_day = ((hour * 60 + minute) * 60 + second) * _US
        ticks = (first.astype(np.int64) + day - 1) * (86_400 * _US) + of_day
        times[at : at + _CHUNK] = np.where(valid, ticks.view("M8[us]"), np.datetime64("NaT", "us"))
    return times


def _distinct(text: pd.Series[str]) -> tuple[pd.Series[str], Integers | None]:
    """Each text once and where it stands, where many stand there repeatedly; else all of them."""
    sample = text.iloc[:: max(1, len(text) // _SAMPLE)]
    if len(text) <= _SAMPLE or sample.nunique() > 0.9 * len(sample):
        return text, None
    codes, distinct = pd.factorize(text, use_na_sentinel=False)
    return pd.Series(distinct, dtype="str"), codes.astype(np.int64)


def _parse(text: pd.Series[str], day_first: bool | None) -> tuple[pd.DatetimeIndex, str | None]:
    given = text.notna()
    zoned = text.str.contains(_ZONE, na=False)
    if zoned.any() and not zoned[given].all():
        naive = text[given & ~zoned].iloc[0]
        raise ValueError(
            f"some times have a time zone and some, like {quoted(naive)}, have none; write all of them in UTC"
        )
    best, form = _parsed(text, "ISO8601", utc=bool(zoned.any())), None
    readable, wanted = np.count_nonzero(best.notna()), np.count_nonzero(given)
    if 2 * readable >= wanted:
        return best, None
    for guess in _suggested_formats(text[given], day_first):
        other = read_texts(text, guess) if is_of_numbers(guess) else _parsed(text, guess, utc=bool(zoned.any()))
        fits = np.count_nonzero(other.notna())
        if readable == fits == wanted and not best.equals(other):
            first = text[given.to_numpy() & (best != other)].iloc[0]
            raise DayOrderError(
                f"in {quoted(first)} day and month cannot be told apart; write times as YYYY-MM-DD, "
                "or say which is first: --set data.dayfirst=true, or =false"
            )
        if fits > readable:
            best, readable, form = other, fits, guess
    return best, form


class DayOrderError(ValueError):
    """Day and month cannot be told apart."""


def _suggested_formats(text: pd.Series[str], day_first: bool | None) -> list[str]:
    """The formats that fit some of the first texts."""
    if re.fullmatch(r"\d{6,18}", text.iloc[0]) and text.str.fullmatch(r"\d{6,18}").all():
        form, _ = whole_number_format(np.array(list(text), dtype=np.int64))
        return [form] if form is not None else []
    samples = list(text.iloc[:20])
    coarse = [
        form.format(match[1])
        for pattern, form in _COARSE
        for match in (re.fullmatch(pattern, sample.strip()) for sample in samples)
        if match
    ]
    months = [match for sample in samples if (match := re.fullmatch(_MONTH_AND_YEAR, sample.strip()))]
    if len({match[0][:3].lower() for match in months}) > 1 and _are_months(text, of_month := f"%b{months[0][1]}%y"):
        coarse.append(of_month)
    short = [form for form in _short_years(text) if day_first is None or has_day_first(form) in (None, day_first)]
    return list(dict.fromkeys([*coarse, *short, *_guessed_formats(samples, day_first)]))


def _are_months(text: pd.Series[str], form: str) -> bool:
    """Whether the first ones are mostly less than a year apart: Jan-04, Jan-11 are days."""
    steps = np.abs(np.diff(_parsed(text.iloc[:_FIRST], form, utc=False).dropna().to_numpy()))
    steps = steps[steps > np.timedelta64(0)]
    return len(steps) > 0 and bool(np.median(steps) < np.timedelta64(360, "D"))


def _short_years(text: pd.Series[str]) -> list[str]:
    """The formats of dates with two digits of the year that read the first texts, in order of time if any do so."""
    first = text.iloc[:_FIRST].str.strip()
    match = re.fullmatch(_SHORT, first.iloc[0])
    if match is None or not first.str.fullmatch(_SHORT).all():
        return []
    half = f"{match[4][:-2]}%p" if match[4] else ""
    of_day = f"{match[2]}{'%I' if half else '%H'}:%M{':%S' if match[3] else ''}{half}" if match[2] else ""
    read = {
        form: times
        for order in ("%m %d %y", "%d %m %y", "%y %m %d")
        if not (times := _parsed(first, form := order.replace(" ", match[1]) + of_day, utc=False)).hasnans
    }
    in_order = [form for form, times in read.items() if times.is_monotonic_increasing or times.is_monotonic_decreasing]
    return in_order or list(read)


def _guessed_formats(samples: Iterable[str], day_first: bool | None) -> list[str]:
    """The formats, month first and day first, that fit a sample.

    Pandas guesses neither hours to 12 nor years of two digits: by those to 24, and of four digits.
    """
    from pandas.tseries.api import guess_datetime_format

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it warns where only one of the two orders fits
        guesses = [
            (form.replace("%H", "%I") if suffix else form).replace("%Y", year) + suffix
            for text, suffix in map(_without_half, samples)
            for whole, year in [(_SHORT_YEAR.sub(r"\g<1>20", text), "%y" if _SHORT_YEAR.match(text) else "%Y")]
            for first in (False, True)
            if (form := guess_datetime_format(whole, dayfirst=first)) is not None
        ]
    forms = [form for form in guesses if not re.match("%Y.%d", form)]
    if day_first is not None:
        forms = [form for form in forms if has_day_first(form) in (None, day_first)]
    return forms


def _without_half(text: str) -> tuple[str, str]:
    """A time without its AM or PM, and the end of its format that stands for it."""
    match = re.fullmatch(r"(.*\d:\d\d)(\s*)[AP]M\s*", text, re.IGNORECASE)
    return (match[1], f"{match[2]}%p") if match else (text, "")


def _parsed(text: pd.Series[str], form: str, utc: bool) -> pd.DatetimeIndex:
    """24:00 is the next day's 0:00; a week is its Monday."""
    times = _exactly(text, form, utc)
    if not times.hasnans or not text.str.contains("24:00", regex=False).any():
        return times
    late = times.isna() & text.str.contains(_MIDNIGHT, na=False).to_numpy()
    if not late.any():
        return times
    midnight = text.where(~late, text.str.replace(_MIDNIGHT, "00", regex=True))
    again = _exactly(midnight, form, utc)
    return pd.DatetimeIndex(again.where(~late, again + pd.Timedelta(days=1)))


def _exactly(text: pd.Series[str], form: str, utc: bool) -> pd.DatetimeIndex:
    if "%q" in form:
        pattern = re.escape(form).replace("%Y", r"(?P<year>\d{4})").replace("%q", "(?P<quarter>[1-4])")
        parts = text.str.extract(f"^\\s*{pattern}\\s*$", flags=re.IGNORECASE)
        months = (3 * parts["quarter"].astype("float") - 2).astype("Int64").astype("str")
        text, form = (parts["year"] + "-" + months).astype("str"), "%Y-%m"
    elif "%V" in form and "%u" not in form:
        text, form = text + " 1", f"{form} %u"
    try:
        return pd.DatetimeIndex(pd.to_datetime(text, format=form, errors="coerce", utc=utc)).as_unit("us")
    except re.error as error:
        raise ValueError(f"{form!r} is no format of times") from error
