"""The data-quality page in a terminal: what `lowerfunnel check RECIPE` prints."""

import datetime

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from lowerfunnel.events.quality import Quality, Spread
from lowerfunnel.events.suspects import ADVERTISER_RULE, USER_RULE

_BLOCKS = " ▁▂▃▄▅▆▇█"
_BAR_WIDTH = 24
_SPARK_WIDTH = 60
_STYLES = {"bad": "red", "warn": "yellow", "good": "green", "dim": "dim", "number": "cyan"}
_EXAMPLES = 6
_EXAMPLE_CHARACTERS = 160


def render_quality(quality: Quality, console: Console) -> None:
    """Print the page."""
    parts: list[RenderableType] = [_head(quality), _rows(quality)]
    if quality.bad_rows:
        parts += [_title("Rows set aside"), _bad_rows(quality)]
    parts += [_title("Events"), _actions(quality)]
    if quality.days:
        parts.append(_days(quality))
    if quality.funnel:
        parts += [_title("Funnel"), _funnel(quality)]
    if quality.delays:
        parts += [_title("Delay to conversion"), _delays(quality)]
    parts += [_reported(quality)] * bool(_reported_lines(quality))
    parts += [_title("Users, items, advertisers"), _entities(quality), _spreads(quality)]
    parts += [_title("Suspicious"), _suspects(quality)]
    if quality.remarks:
        parts += [_title("Worth a look"), _sentences(quality.remarks, "!", "yellow")]
    if quality.cannot:
        parts += [_title("What this log cannot do"), _sentences(quality.cannot, "·", "dim")]
    console.print(Group(*parts))


def _title(text: str) -> RenderableType:
    return Padding(Rule(Text(text, style="bold"), align="left", style="dim"), (1, 0, 0, 0))


def _head(quality: Quality) -> RenderableType:
    line = Text.assemble(
        (f"{quality.events:,}", "bold cyan"), " events   ",
        (f"{quality.users:,}", "bold cyan"), " users   ",
        (f"{quality.items:,}", "bold cyan"), " items   ",
        (f"{quality.advertisers:,}", "bold cyan"), " advertisers",
    )  # fmt: skip
    when = {"time": _span(quality), "sequence": "ordered, without times", "none": "without times or order"}[
        quality.order
    ]
    source = Text("synthetic", style="bold yellow") if quality.synthetic else Text("real", style="dim")
    return Panel(Group(line, Text.assemble((when, "dim"), "   ", source)), title="Data quality", title_align="left")


def _span(quality: Quality) -> str:
    if quality.first_ts_us is None or quality.last_ts_us is None:
        return ""
    days = (quality.last_ts_us - quality.first_ts_us) / 86_400_000_000
    length = f"{days:,.0f} days" if days >= 2 else f"{days * 24:,.1f} hours"
    return f"{_moment(quality.first_ts_us)} to {_moment(quality.last_ts_us)} UTC ({length})"


def _moment(us: int) -> str:
    moment = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(microseconds=us)
    return moment.strftime("%Y-%m-%d %H:%M")


def _table(*columns: str, left: int = 1) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for number, column in enumerate(columns):
        # A column without a name holds bars, which grow from the left.
        table.add_column(column, justify="left" if number < left or not column else "right", no_wrap=number >= left)
    return table


def _count(number: int, style: str = "") -> Text:
    return Text(f"{number:,}", style=style if number else "dim")


def _rows(quality: Quality) -> RenderableType:
    table = _table("rows of", "in the files", "used", "ignored", "set aside", "share")
    for name, rows in quality.rows.items():
        judged = rows.read - rows.ignored
        table.add_row(
            name,
            _count(rows.read),
            _count(rows.kept),
            _count(rows.ignored),
            _count(rows.quarantined, "bold red"),
            f"{rows.quarantined / judged:.2%}" if judged and rows.quarantined else Text("-", style="dim"),
        )
    notes = [("duplicate events removed", quality.duplicates)]
    notes += [("event ids with different content", quality.conflicting_event_ids)] * bool(quality.conflicting_event_ids)
    if "items" in quality.rows:
        notes.append(("items listed more than once", quality.repeated_items))
        notes.append(("... with different values (the first was kept)", quality.conflicting_items))
    if "users" in quality.rows:
        notes.append(("users listed more than once", quality.repeated_users))
        notes.append(("... with different values (the first was kept)", quality.conflicting_users))
    return Group(Padding(table, (1, 0, 0, 0)), Padding(_pairs(notes), (1, 0, 0, 0)))


def _pairs(notes: list[tuple[str, int]]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(justify="right", no_wrap=True)
    table.add_column()
    for what, number in notes:
        table.add_row(_count(number, "yellow"), Text(what, style="" if number else "dim"))
    return table


def _bad_rows(quality: Quality) -> RenderableType:
    table = _table("reason", "table", "rows", left=2)
    for bad in quality.bad_rows:
        table.add_row(Text(bad.reason, style="red"), bad.table, f"{bad.rows:,}")
    examples: list[RenderableType] = []
    for bad in quality.bad_rows[:_EXAMPLES]:
        example = bad.example if len(bad.example) <= _EXAMPLE_CHARACTERS else bad.example[:_EXAMPLE_CHARACTERS] + "…"
        seen = ", ".join(f"{value} ({count:,})" for value, count in bad.values.items())
        examples.append(Text.assemble((bad.reason, "red"), f": {bad.file}, row {bad.row:,}"))
        examples.append(Padding(Text(example.replace("\n", "⏎"), style="dim"), (0, 0, 0, 2)))
        if seen:
            examples.append(Padding(Text(f"seen: {seen}"), (0, 0, 0, 2)))
    return Group(table, Padding(Group(*examples), (1, 0, 0, 0)))


def _bar(share: float) -> Text:
    """Draw a share of one as a bar that is at least a sliver where there is anything."""
    eighths = max(round(share * _BAR_WIDTH * 8), 1 if share > 0 else 0)
    whole, rest = divmod(eighths, 8)
    drawn = "█" * whole + (" ▏▎▍▌▋▊▉"[rest] if rest else "")
    return Text(drawn.ljust(_BAR_WIDTH), style="cyan")


def _actions(quality: Quality) -> RenderableType:
    table = _table("action", "events", "share", "")
    most = max(quality.actions.values(), default=1)
    for action, count in quality.actions.items():
        table.add_row(action, f"{count:,}", f"{count / quality.events:.1%}", _bar(count / most))
    if not quality.surfaces:
        return table
    surfaces = _table("surface", "events", "share", "")
    most = max(quality.surfaces.values())
    for surface, count in sorted(quality.surfaces.items(), key=lambda each: -each[1])[:12]:
        surfaces.add_row(surface, f"{count:,}", f"{count / quality.events:.1%}", _bar(count / most))
    return Group(table, Padding(surfaces, (1, 0, 0, 0)))


def _days(quality: Quality) -> RenderableType:
    """Draw events over time as one line of blocks per action; empty days show as gaps."""
    first = datetime.date.fromisoformat(quality.days[0].day)
    offsets = [(datetime.date.fromisoformat(day.day) - first).days // quality.days_each for day in quality.days]
    width = min(_SPARK_WIDTH, offsets[-1] + 1)
    per_column = -(-(offsets[-1] + 1) // width)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    for action in quality.actions:
        totals = [0] * -(-(offsets[-1] + 1) // per_column)
        for offset, day in zip(offsets, quality.days, strict=True):
            totals[offset // per_column] += day.counts.get(action, 0)
        most = max(totals)
        drawn = "".join(_BLOCKS[-(-total * 8 // most)] for total in totals)
        each = per_column * quality.days_each
        table.add_row(action, Text(drawn, style="cyan"), Text(f"most in {_days_long(each)}: {most:,}", style="dim"))
    return Padding(table, (1, 0, 0, 0))


def _days_long(days: int) -> str:
    return "one day" if days == 1 else f"{days} days"


def _funnel(quality: Quality) -> RenderableType:
    table = _table("user-item pairs with", "that have too", "pairs", "share", "", left=2)
    for rate in quality.funnel:
        table.add_row(rate.origin, rate.target, f"{rate.pairs:,}", f"{rate.rate:.2%}", _bar(rate.rate))
    return table


def _delays(quality: Quality) -> RenderableType:
    table = _table("from", "to", "pairs", "half within", "90% within", "99% within", left=2)
    for delay in quality.delays:
        within = [_hours(delay.quantiles_h[name]) for name in ("p50", "p90", "p99")]
        table.add_row(delay.origin, delay.target, f"{delay.pairs:,}", *within)
    return table


def _reported_lines(quality: Quality) -> list[str]:
    """Say what the log tells of how it came to be, one sentence for each thing that it does tell."""
    lines = []
    if (delay := quality.report_delay) is not None:
        within = (
            f"half within {_hours(delay.median_h)}, 90% within {_hours(delay.p90_h)}, 99% within {_hours(delay.p99_h)}"
        )
        lines.append(f"{delay.conversions:,} conversions tell when they were reported: {within}")
    if quality.actions.get("return") and quality.actions.get("checkout"):
        returns, checkouts = quality.actions["return"], quality.actions["checkout"]
        lines.append(f"{returns:,} returns to {checkouts:,} checkouts, {returns / checkouts:.1%}")
    if quality.events_with_propensity:
        share = quality.events_with_propensity / quality.events
        lines.append(f"{quality.events_with_propensity:,} events with a propensity, {share:.1%} of all")
    return lines


def _reported(quality: Quality) -> RenderableType:
    return Padding(Group(*map(Text, _reported_lines(quality))), (1, 0, 0, 0))


def _hours(hours: float) -> str:
    if hours < 1 / 60:
        return f"{hours * 3600:.0f} s"
    if hours < 1:
        return f"{hours * 60:.0f} min"
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.1f} days"


def _entities(quality: Quality) -> RenderableType:
    notes = [("users with a conversion", quality.users_with_conversion)]
    notes.append(("user-item pairs with a conversion", quality.converted_pairs))
    before = "before" if quality.order != "none" else "at all"
    notes.append((f"... of them without any other action {before}", quality.converted_pairs_untouched))
    if quality.has_catalogue:
        notes.append(("items of events that the catalogue lacks", quality.items_not_in_catalogue))
        notes.append(("... their events", quality.events_not_in_catalogue))
        notes.append(("items of the catalogue without an event", quality.catalogue_items_never_seen))
    if quality.test is not None:
        notes.append(("held-out events of the given test", quality.test.events))
        notes.append(("... their users", quality.test.users))
        notes.append(("... of them without an event in the log", quality.test.users_without_events))
        notes.append(("test items without an event in the log", quality.test.items_without_events))
        notes.append(("test user-item pairs that the log holds too", quality.test.pairs_in_log))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(justify="right", no_wrap=True)
    table.add_column()
    for what, number in notes:
        table.add_row(_count(number), Text(what, style="" if number else "dim"))
    return table


def _spreads(quality: Quality) -> RenderableType:
    names = list(quality.events_per_user.quantiles)
    table = _table("events per", "mean", *names)

    def add(what: str, spread: Spread) -> None:
        table.add_row(what, f"{spread.mean:,.1f}", *(f"{spread.quantiles[name]:,}" for name in names))

    add("user", quality.events_per_user)
    add("item", quality.events_per_item)
    return Padding(table, (1, 0, 0, 0))


def _suspects(quality: Quality) -> RenderableType:
    parts: list[RenderableType] = []
    for what, suspects, count, rule in (
        ("users", quality.suspicious_users, quality.suspicious_users_count, USER_RULE),
        ("advertisers", quality.suspicious_advertisers, quality.suspicious_advertisers_count, ADVERTISER_RULE),
    ):
        if what == "advertisers" and not quality.advertisers:
            continue
        parts.append(Text.assemble(_count(count, "bold yellow"), f" {what}"))
        parts += [Padding(Text.assemble((each.id, "bold"), f"  {each.why}"), (0, 0, 0, 2)) for each in suspects[:5]]
        if count > 5:
            parts.append(Padding(Text(f"and {count - 5:,} more", style="dim"), (0, 0, 0, 2)))
        parts.append(Padding(Text(rule, style="dim italic"), (0, 0, 0, 2)))
    return Group(*parts)


def _sentences(sentences: tuple[str, ...], mark: str, style: str) -> RenderableType:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), show_header=False)
    for sentence in sentences:
        table.add_row(Text(mark, style=style), sentence)
    return table
