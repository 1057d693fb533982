"""Numbers and times as text, in the one way that they are sent, logged and kept."""

import polars as pl

_ZONE = r"(Z|[+-]\d{2}:?\d{2})$"
_LEN_OF_DAY = 10


def number_text(number: pl.Expr) -> pl.Expr:
    """Write numbers as text, whole ones without a fraction: a category 1.0 is sent as 1.

    >>> pl.select(number_text(pl.lit(pl.Series([1.0, 2.5, None])))).to_series().to_list()
    ['1', '2.5', None]
    """
    whole = number.cast(pl.Int64, strict=False)
    is_whole = whole.cast(pl.Float64) == number
    return pl.when(is_whole).then(whole.cast(pl.String)).otherwise(number.cast(pl.String))


def read_time(text: pl.Expr) -> pl.Expr:
    """Read days and times that begin with the year, in UTC where they name no zone.

    Others are null: nothing tells which of 03/04/2020's numbers is the month, so none is guessed.

    >>> pl.select(read_time(pl.lit(pl.Series(["2020-03-04", "03/04/2020"])))).to_series().to_list()
    [datetime.datetime(2020, 3, 4, 0, 0, tzinfo=zoneinfo.ZoneInfo(key='UTC')), None]
    """
    text = text.str.strip_chars().str.replace_all("/", "-", literal=True)
    text = pl.when(is_year_first(text)).then(text)
    # Polars reads a column in the form of its first text, so all are brought to one form.
    whole = (
        pl.when(text.str.len_chars() == _LEN_OF_DAY)
        .then(text + "T00:00:00Z")
        .when(text.str.contains(_ZONE))
        .then(text)
        .otherwise(text + "Z")
    )
    return whole.str.to_datetime(time_unit="us", time_zone="UTC", strict=False)


def is_year_first(text: pl.Expr) -> pl.Expr:
    """Tell whether a day is written with its year of four digits first and a hyphen behind it."""
    return text.str.slice(4, 1) == "-"
