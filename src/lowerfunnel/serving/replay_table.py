"""What a replay found, as a table for a terminal."""

import rich.box
from rich.table import Table
from rich.text import Text

from lowerfunnel.serving.replay import ReplayReport


def replay_table(report: ReplayReport) -> Table:
    """Return the table of a report."""
    table = Table("what", "requests", "meaning", box=rich.box.SIMPLE_HEAD, header_style="bold")
    rows = [
        ("read", report.requests, "written down as they were served"),
        ("compared", report.compared, "features gathered again by the code of training"),
        ("skewed", report.skewed, f"a feature or the vector differs ({report.skew_ratio:.2%} of those compared)"),
        ("late", report.late, "an event was stored later that lies before the request; not compared"),
        ("degraded", report.degraded, "answered without the store, or in a batch; not compared"),
        ("fresh", report.fresh, "read items that came after the version; not compared"),
        ("other versions", report.of_other_versions, "of versions that are no longer kept; not compared"),
        ("damaged", report.damaged, "lines that cannot be read, such as the last one of a killed server"),
    ]
    for what, count, meaning in rows:
        if count or what in ("read", "compared", "skewed"):
            table.add_row(what, f"{count:,}", Text(meaning))
    for feature, count in report.by_feature.most_common():
        table.add_row(f"  {feature}", f"{count:,}", "differs")
    if report.compared:
        table.caption = f"largest difference of a vector's coordinate: {report.largest_vector_difference:.2g}"
    return table
