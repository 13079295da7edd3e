"""Source ids: kept as they came, 64-bit integers or texts, and never through a float."""

from lowerfunnel.errors import DataError

INTEGERS = (
    "TINYINT",
    "SMALLINT",
    "INTEGER",
    "BIGINT",
    "HUGEINT",
    "UTINYINT",
    "USMALLINT",
    "UINTEGER",
    "UBIGINT",
    "UHUGEINT",
)
_TEXTS = ("VARCHAR", "UUID")


def id_text(value: str, kind: str, *, column: str | None, canonical: str, file: str) -> str:
    """Write the expression for an id as text, from one for its value of type `kind`; an empty id is missing.

    Raises:
        DataError: If the column's type cannot hold an id.
    """
    if kind.startswith("ENUM") or kind in _TEXTS:
        return f"nullif(CAST({value} AS VARCHAR), '')"
    if kind in INTEGERS or (kind.startswith("DECIMAL") and kind.endswith(",0)")):
        return f"CAST({value} AS VARCHAR)"
    if kind in ("FLOAT", "DOUBLE") or kind.startswith("DECIMAL"):
        raise DataError(
            f"{file}: the column {column!r} for {canonical} is of type {kind}, and an id that went through a fraction may "
            "have lost digits; write it as an integer or as text"
        )
    raise DataError(f"{file}: the column {column!r} for {canonical} is of type {kind}; an id is an integer or a text")


def is_integer(text: str) -> str:
    """Write the condition that a text is a 64-bit integer in its one canonical spelling."""
    return f"coalesce(CAST(TRY_CAST({text} AS BIGINT) AS VARCHAR) = {text}, false)"


def bucket(text: str, buckets: int) -> str:
    """Write the bucket of an id. MD5 stays the same across engines and their versions, unlike an engine's own hash."""
    return f"CAST(md5_number_lower({text}) % {buckets} AS INTEGER)"
