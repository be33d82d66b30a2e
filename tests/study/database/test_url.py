"""Storage URLs: which are taken, and that no error shows a password."""

from __future__ import annotations

import importlib.util

import pytest
import sqlalchemy

from optlstm.errors import InputError, StorageError
from optlstm.study.database.connection import open_database
from optlstm.study.database.url import parse_url

SECRET = "p@ss{0}{x}/w:rd%"
QUOTED = "p%40ss{0}{x}%2Fw%3Ard%25"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a database URL"),
        ("runs/optlstm.db", "not a database URL"),
        ("postgresql://u:p@host:port/db", "not a database URL"),
        ("mssql://u:p@host/db", "'mssql' databases are not supported"),
        ("redis://host", "'redis' databases are not supported"),
        ("sqlite://", "in-memory"),
        ("sqlite:///:memory:", "in-memory"),
        ("sqlite:///file::memory:?uri=true", "'file:' names are not supported"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_with_what_to_type(text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_url(text)

    (problem,) = caught.value.problems
    assert problem.startswith("storage: ")
    assert message in problem
    assert "use sqlite" in problem


@pytest.mark.parametrize("text", ["postgresql://u:p@ss@host/db", "postgresql://u:p@s/s#x@host/db"])
def test_the_end_of_a_password_is_taken_for_no_host_and_no_database(text: str) -> None:
    with pytest.raises(InputError, match=r"more than one '@'; write an '@' in the user name or password as %40$"):
        parse_url(text)


@pytest.mark.parametrize("driver", ["psycopg2", "pg8000", "asyncpg"])
def test_a_driver_that_is_not_installed_is_named(driver: str) -> None:
    if importlib.util.find_spec(driver) is not None:
        pytest.skip(f"{driver} is installed here")

    with pytest.raises(InputError, match=driver) as caught:
        open_database(f"postgresql+{driver}://user:{QUOTED}@localhost/db")

    assert "ss{" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "driver"),
    [
        ("postgres://u@h/d", "postgresql+psycopg"),
        ("postgresql://u@h/d", "postgresql+psycopg"),
        ("mysql://u@h/d", "mysql+pymysql"),
        ("mariadb://u@h/d", "mysql+pymysql"),
        ("postgresql+psycopg://u@h/d", "postgresql+psycopg"),
        ("sqlite:///x.db", "sqlite"),
    ],
)
def test_a_plain_scheme_gets_the_driver_we_ship(text: str, driver: str) -> None:
    assert parse_url(text).drivername == driver


def test_a_password_with_special_characters_reaches_the_server(postgresql_url: str) -> None:
    admin = sqlalchemy.create_engine(postgresql_url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.exec_driver_sql(f"CREATE ROLE guest LOGIN SUPERUSER PASSWORD '{SECRET.replace('%', '%%')}'")
    admin.dispose()
    url = sqlalchemy.make_url(postgresql_url).set(username="guest", password=SECRET)

    database = open_database(url.render_as_string(hide_password=False))

    assert database.rdb.engine.url.password == SECRET
    assert database.rdb.get_all_studies() is not None
    database.close()


@pytest.mark.parametrize("scheme", ["postgresql", "mysql"])
@pytest.mark.parametrize("password", [QUOTED, "p@ss{0}{x}"], ids=["quoted", "not quoted"])
def test_no_error_shows_a_password(scheme: str, password: str) -> None:
    with pytest.raises((InputError, StorageError)) as caught:
        open_database(f"{scheme}://user:{password}@localhost:1/db")

    error: BaseException | None = caught.value
    while error is not None:
        assert "ss{" not in str(error)
        error = None if error.__suppress_context__ else error.__cause__ or error.__context__


@pytest.mark.parametrize("option", ["password", "passwd", "sslpassword"])
def test_no_error_shows_a_password_among_the_options(option: str) -> None:
    with pytest.raises((InputError, StorageError)) as caught:
        open_database(f"postgresql://user@localhost:1/db?{option}=hunter2")

    assert "hunter2" not in str(caught.value)
