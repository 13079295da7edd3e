"""From a source's columns to canonical ones, in SQL: each row comes out typed, or with the reason why it cannot be.

Every value is first taken as it stands (`r_`), then read as its type (`t_`), then judged; the first reason that holds
is the row's reason. Nothing is computed row by row in Python.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from lowerfunnel.errors import ConfigError, DataError
from lowerfunnel.events import ids, sql
from lowerfunnel.events.inputs import did_you_mean
from lowerfunnel.events.schema import ACTIONS
from lowerfunnel.events.settings import EVENT_COLUMNS, ITEM_COLUMNS, USER_COLUMNS, IdChoice, LogConfig, SourceConfig

QUARANTINED = -1
"""The bucket of rows that have a reason."""
IGNORED = -2
"""The bucket of rows whose action is left out on purpose."""

UNKNOWN_ACTION = "action is unknown"
_DAY_US = 86_400_000_000
_CLOCK_SKEW_US = 600_000_000
"""How far the clocks of an advertiser and of the platform may lie apart."""
_RAW_CHARACTERS = 4000
_IDS = ("user_id", "item_id", "context_item_id", "event_id", "request_id", "advertiser_id", "category_id")
_NUMBERS = ("dwell_s", "value", "price", "propensity")
TIMES = ("ts", "received_ts")
VECTORS = ("content", "visual")
_TEXTS = ("surface", "currency", "query", "title")
_NO_PROPENSITY = (("t_propensity = 0 OR t_propensity > 1", "propensity is not above 0 and at most 1"),)
_PER_UNIT_US = {"s": 1_000_000, "ms": 1_000, "us": 1}
_REQUIRED = {
    "events": ("user_id", "item_id", "action"),
    "test": ("user_id", "item_id", "action"),
    "items": ("item_id",),
    "users": ("user_id",),
}
COLUMNS: dict[str, tuple[str, ...]] = {
    "events": EVENT_COLUMNS,
    "test": EVENT_COLUMNS,
    "items": ITEM_COLUMNS,
    "users": USER_COLUMNS,
}
STAGED_TYPES: dict[str, str] = {
    "seq": "BIGINT",
    "position": "INTEGER",
    "attributes": "VARCHAR[]",
    **dict.fromkeys(TIMES, "BIGINT"),
    **dict.fromkeys(_NUMBERS, "DOUBLE"),
    **dict.fromkeys(VECTORS, "FLOAT[]"),
}
"""Types between import and store, where not VARCHAR: times are microseconds, ids are still text."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Given:
    """Where a canonical column's values come from.

    Attributes:
        column: The column of the source; None for a constant.
        type: DuckDB's type of it.
        sql: The expression for it over the row `src`.
    """

    column: str | None
    type: str
    sql: str


def resolve(
    table: str, source: SourceConfig, columns: Sequence[tuple[str, str]], *, where: str, file: str
) -> dict[str, Given]:
    """Decide what gives each canonical column.

    Raises:
        DataError: If a named column is not in the file, or nothing gives a column that is needed.
    """
    types = dict(columns)
    for setting, wanted in (("columns", list(source.columns.values())), ("attributes", list(source.attributes))):
        for column in wanted:
            if column not in types:
                raise DataError(f"{where}.{setting}: {file} has no column {column!r} ({did_you_mean(column, types)})")
    given = {
        canonical: Given(column=column, type=types[column], sql=f"src.{sql.name(column)}")
        for canonical, column in source.columns.items()
    }
    given |= {
        canonical: Given(column=None, type="VARCHAR", sql=sql.text(value))
        for canonical, value in source.constants.items()
    }
    taken = {*source.columns.values(), *source.skip_columns, *source.attributes}
    for canonical in COLUMNS[table]:
        if canonical in types and canonical not in given and canonical not in taken:
            given[canonical] = Given(column=canonical, type=types[canonical], sql=f"src.{sql.name(canonical)}")
    for canonical in _REQUIRED[table]:
        if canonical not in given:
            raise DataError(
                f"{where}: nothing gives {canonical}; name its column in {where}.columns or its value in "
                f"{where}.constants ({file} has {', '.join(types)})"
            )
    return given


@dataclass(frozen=True, kw_only=True, slots=True)
class _Reading:
    """How one canonical column is read.

    Attributes:
        raw: Expression for the value as it stands, null if there is none.
        typed: Expression for the value read as its type, over `raw` under its name.
        checks: Conditions under which the row is bad, and the reasons.
    """

    raw: str
    typed: str
    checks: tuple[tuple[str, str], ...] = ()


def canonical_rows(
    table: str,
    source: SourceConfig,
    columns: Sequence[tuple[str, str]],
    relation: str,
    *,
    config: LogConfig,
    where: str,
    file: str,
    number: int,
    now_us: int,
) -> str:
    """Write the SELECT that turns a relation into staged rows.

    It gives the canonical columns, `file` and `row` (from 1, in the order of the relation), `reason`, `detail` (the value
    at fault) and `raw` (the source row as JSON) of a bad row, and the `bucket`.
    """
    given = resolve(table, source, columns, where=where, file=file)
    readings = {
        canonical: _reading(source, canonical, each, config, file=file, where=where, now_us=now_us)
        for canonical, each in given.items()
        if canonical != "attributes"
    }
    if table in ("items", "users"):
        readings["attributes"] = _attributes(source, given.get("attributes"), dict(columns))
    raw = ", ".join(f"{reading.raw} AS r_{canonical}" for canonical, reading in readings.items())
    typed = ", ".join(f"{reading.typed} AS t_{canonical}" for canonical, reading in readings.items())
    checks = [
        (condition, reason, canonical)
        for canonical in sorted(readings, key=COLUMNS[table].index)
        for condition, reason in _missing(table, canonical) + readings[canonical].checks
    ]
    if set(TIMES) <= readings.keys():
        skew = f"t_received_ts < t_ts - {_CLOCK_SKEW_US}"
        checks.append((skew, "received_ts is more than 10 minutes before ts", "received_ts"))
    staged = ", ".join(
        f"CAST({f't_{canonical}' if canonical in readings else 'NULL'} AS {STAGED_TYPES.get(canonical, 'VARCHAR')}) "
        f"AS {sql.name(canonical)}"
        for canonical in COLUMNS[table]
    )
    cases = " ".join(f"WHEN {condition} THEN {code}" for code, (condition, _, _) in enumerate(checks))
    reasons = " ".join(f"WHEN {code} THEN {sql.text(reason)}" for code, (_, reason, _) in enumerate(checks))
    details = " ".join(
        f"WHEN {code} THEN left(CAST(r_{canonical} AS VARCHAR), 200)" for code, (_, _, canonical) in enumerate(checks)
    )
    ignored = "false"
    if "action" in given and source.ignore_actions:
        ignored = f"coalesce(r_action IN ({', '.join(map(sql.text, source.ignore_actions))}), false)"
    kept = ids.bucket("t_user_id", config.buckets) if table == "events" else "0"
    return (
        f"SELECT {staged}, {number} AS file, row, "
        f"CASE code {reasons} END AS reason, CASE code {details} END AS detail, "
        f"CASE WHEN code IS NOT NULL THEN left(CAST(to_json(src) AS VARCHAR), {_RAW_CHARACTERS}) END AS raw, "
        f"CASE WHEN {ignored} THEN {IGNORED} WHEN code IS NOT NULL THEN {QUARANTINED} ELSE {kept} END AS bucket "
        f"FROM (SELECT *, CASE WHEN {ignored} THEN NULL {cases} END AS code "
        f"FROM (SELECT *, {typed} "
        f"FROM (SELECT *, {raw} "
        f"FROM (SELECT row_number() OVER () AS row, src FROM {relation} AS src))))"
    )


def _missing(table: str, canonical: str) -> tuple[tuple[str, str], ...]:
    """Return the check that a value is there: a needed one, or the time of a log whose events have times."""
    if canonical in _REQUIRED[table] or (canonical in ("ts", "seq") and table == "events"):
        return ((f"r_{canonical} IS NULL", f"{canonical} is missing"),)
    return ()


def _reading(
    source: SourceConfig,
    canonical: str,
    given: Given,
    config: LogConfig,
    *,
    file: str,
    where: str,
    now_us: int,
) -> _Reading:
    raw = f"r_{canonical}"
    if canonical in _IDS:
        text = ids.id_text(given.sql, given.type, column=given.column, canonical=canonical, file=file)
        return _Reading(raw=text, typed=raw, checks=_id_checks(canonical, config))
    if canonical == "action":
        return _action(source, given, where)
    if canonical in TIMES:
        return _time(source, canonical, given, file=file, now_us=now_us)
    if canonical in ("seq", "position"):
        kind = "BIGINT" if canonical == "seq" else "INTEGER"
        return _Reading(
            raw=_text(given),
            # A cast alone would round 1.5.
            typed=f"CASE WHEN TRY_CAST({raw} AS DOUBLE) % 1 = 0 THEN TRY_CAST({raw} AS {kind}) END",
            checks=((f"{raw} IS NOT NULL AND t_{canonical} IS NULL", f"{canonical} is not a whole number"),),
        )
    if canonical in _NUMBERS:
        return _Reading(
            raw=_text(given),
            typed=f"TRY_CAST({raw} AS DOUBLE)",
            checks=(
                (f"{raw} IS NOT NULL AND t_{canonical} IS NULL", f"{canonical} is not a number"),
                (f"NOT isfinite(t_{canonical})", f"{canonical} is NaN or infinite"),
                (f"t_{canonical} < 0", f"{canonical} is negative"),
                *(_NO_PROPENSITY if canonical == "propensity" else ()),
            ),
        )
    if canonical in VECTORS:
        typed = f"t_{canonical}"
        odd = f"len(list_filter({typed}, lambda each: each IS NULL OR NOT isfinite(each))) > 0"
        bad = f"{raw} IS NOT NULL AND ({typed} IS NULL OR len({typed}) = 0 OR {odd})"
        return _Reading(
            raw=given.sql,
            typed=f"TRY_CAST({raw} AS FLOAT[])",
            checks=((bad, f"{canonical} is not a vector of finite numbers"),),
        )
    return _Reading(raw=_text(given), typed=raw)


def _text(given: Given) -> str:
    return f"nullif(CAST({given.sql} AS VARCHAR), '')"


def _id_checks(canonical: str, config: LogConfig) -> tuple[tuple[str, str], ...]:
    choices: dict[str, IdChoice] = {
        "user_id": config.user_id_type,
        "item_id": config.item_id_type,
        "context_item_id": config.item_id_type,
    }
    if choices.get(canonical) != "int64":
        return ()
    bad = f"r_{canonical} IS NOT NULL AND NOT {ids.is_integer(f'r_{canonical}')}"
    return ((bad, f"{canonical} is not a 64-bit integer"),)


def _action(source: SourceConfig, given: Given, where: str) -> _Reading:
    known = {action: action for action in ACTIONS} | source.actions
    if given.column is None:
        value = source.constants["action"]
        if value not in known:
            raise ConfigError(
                f"{where}.constants.action is {value!r}; the canonical actions are {', '.join(ACTIONS)} "
                f"({did_you_mean(value, ACTIONS)})"
            )
    cases = " ".join(f"WHEN {sql.text(each)} THEN {sql.text(canonical)}" for each, canonical in known.items())
    return _Reading(
        raw=_text(given),
        typed=f"CASE r_action {cases} END",
        checks=(("t_action IS NULL", UNKNOWN_ACTION),),
    )


def _time(source: SourceConfig, canonical: str, given: Given, *, file: str, now_us: int) -> _Reading:
    kind, r_ts, t_ts = given.type, f"r_{canonical}", f"t_{canonical}"
    bad = f"{r_ts} IS NOT NULL AND {t_ts} IS NULL"
    checks = (
        (bad, f"{canonical} cannot be read as a time"),
        (f"{t_ts} > {now_us + _DAY_US}", f"{canonical} lies in the future"),
    )
    if kind.startswith("TIMESTAMP") or kind == "DATE":
        # A time without a zone is UTC: so is the engine's zone. Infinity is no time.
        return _Reading(
            raw=given.sql,
            typed=f"CASE WHEN isfinite({r_ts}) THEN TRY(epoch_us(CAST({r_ts} AS TIMESTAMPTZ))) END",
            checks=checks,
        )
    raw = _text(given)
    if source.time_format is not None:
        return _Reading(raw=raw, typed=f"epoch_us(try_strptime({r_ts}, {sql.text(source.time_format)}))", checks=checks)
    if source.time_unit == "iso":
        typed = (
            f"CASE WHEN isfinite(TRY_CAST({r_ts} AS TIMESTAMPTZ)) THEN epoch_us(TRY_CAST({r_ts} AS TIMESTAMPTZ)) END"
        )
        return _Reading(raw=raw, typed=typed, checks=checks)
    if kind not in ("VARCHAR", "FLOAT", "DOUBLE", *ids.INTEGERS) and not kind.startswith("DECIMAL"):
        raise DataError(
            f"{file}: the column {given.column!r} for {canonical} is of type {kind}; a time is a number, text or timestamp"
        )
    if source.time_unit == "ns":
        return _Reading(raw=raw, typed=f"TRY_CAST({r_ts} AS BIGINT) // 1000", checks=checks)
    factor = _PER_UNIT_US[source.time_unit]
    # Fractions go through a decimal: a float of microseconds would lose the last ones.
    typed = (
        f"CASE WHEN contains({r_ts}, '.') THEN TRY(CAST(TRY_CAST({r_ts} AS DECIMAL(30, 6)) * {factor} AS BIGINT)) "
        f"ELSE TRY(TRY_CAST({r_ts} AS BIGINT) * {factor}) END"
    )
    return _Reading(raw=raw, typed=typed, checks=checks)


def _attributes(source: SourceConfig, given: Given | None, types: dict[str, str]) -> _Reading:
    """Collect the tokens of a row: those of the canonical column as they stand, the others as "name=value"."""
    parts = []
    if given is not None:
        parts.append(_tokens(given.sql, given.type, prefix=""))
    parts += [_tokens(f"src.{sql.name(each)}", types[each], prefix=f"{each}=") for each in source.attributes]
    raw = "[]::VARCHAR[]"
    for part in parts:
        raw = f"list_concat({raw}, {part})"
    return _Reading(raw=raw, typed="CASE WHEN len(r_attributes) > 0 THEN r_attributes END")


def _tokens(value: str, kind: str, *, prefix: str) -> str:
    values = f"CAST({value} AS VARCHAR[])" if kind.endswith("]") else f"[CAST({value} AS VARCHAR)]"
    kept = f"list_filter({values}, lambda each: each IS NOT NULL AND each != '')"
    return f"coalesce(list_transform({kept}, lambda each: {sql.text(prefix)} || each), [])"
