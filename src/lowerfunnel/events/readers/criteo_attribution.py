"""Criteo attribution modelling for bidding: thirty days of banners with clicks and conversions.

Source: https://ailab.criteo.com/criteo-attribution-modeling-bidding-dataset/ (Diemert et al., AdKDD 2017). One file,
`criteo_attribution_dataset.tsv.gz` (also plain or .zst), tab-separated, one row per impression: timestamp (s), uid,
campaign, conversion, conversion_timestamp, conversion_id, attribution, click, click_pos, click_nb, cost, cpo,
time_since_last_click, cat1 to cat9.

Choices:

- One row becomes an `impression`; if `click` is 1, also a `click`; if `conversion` is 1, also a `checkout` at its own
  time. Many rows carry the same conversion: it enters once, with its `conversion_id` as `event_id`. If they are of
  several campaigns, it goes to that of the last clicked row, or of the last row if none was clicked.
- **The campaign is the item and also its own advertiser**: the file has neither products nor advertisers. The catalogue
  is a few hundred campaigns, so retrieval is easy here; the worth of the log is in its delays and its attribution.
- **Times count from the first impression, not from 1970.** They are kept as they are, so the log begins on 1970-01-01:
  lengths of time are right, dates, weekdays and hours of the day mean nothing.
- A click has no time of its own and takes that of its impression. Conversions reach past the last impression, as the
  file looks thirty days ahead.
- `value` of a checkout is `cpo`, the cost per order, where Criteo was credited (`attribution` 1): a transformed price
  without currency, and not what the user paid.
- `cost`, `click_pos`, `click_nb`, `time_since_last_click` and the contexts cat1 to cat9 have no place in the log yet.

What the log cannot do: no products, no carts or other visits, nothing known of users beyond their impressions.
"""

from pathlib import Path

from lowerfunnel.events.readers.layout import PublishedTable, filled_in, find_table
from lowerfunnel.events.settings import LogConfig, SourceConfig

_TABLE = PublishedTable(
    names=("criteo_attribution_dataset.tsv",),
    columns=(
        "timestamp", "uid", "campaign", "conversion", "conversion_timestamp", "conversion_id", "attribution", "click",
        "click_pos", "click_nb", "cost", "cpo", "time_since_last_click", *(f"cat{number}" for number in range(1, 10)),
    ),
    delimiter="\t",
)  # fmt: skip

# A flag that is neither 0 nor 1 becomes an action that nobody knows, and so a quarantined row that shows it.
_TOUCHES = """
    SELECT
        uid AS user_id,
        campaign AS item_id,
        "timestamp" AS ts,
        unnest(CASE click
            WHEN '0' THEN ['impression']
            WHEN '1' THEN ['impression', 'click']
            ELSE ['click=' || coalesce(click, '')]
        END) AS action
    FROM source
"""
_CONVERSIONS = """
    SELECT
        uid AS user_id,
        arg_max(campaign, touch) AS item_id,
        conversion_timestamp AS ts,
        CASE conversion WHEN '1' THEN 'checkout' ELSE 'conversion=' || coalesce(conversion, '') END AS action,
        conversion_id AS event_id,
        arg_max(CASE attribution WHEN '1' THEN cpo END, touch) AS value
    FROM (
        SELECT
            *,
            {
                'clicked': click IS NOT DISTINCT FROM '1',
                's': coalesce(TRY_CAST("timestamp" AS BIGINT), -1),
                'campaign': coalesce(campaign, '')
            } AS touch
        FROM source
        WHERE conversion IS DISTINCT FROM '0'
    )
    GROUP BY uid, conversion_timestamp, conversion, conversion_id
    ORDER BY ALL
"""
_ITEMS = """
    SELECT DISTINCT campaign AS item_id, campaign AS advertiser_id FROM source WHERE campaign IS NOT NULL
    ORDER BY item_id
"""


def read_criteo_attribution(data_dir: Path, config: LogConfig) -> LogConfig:
    """Describe the original file of the Criteo attribution data set.

    Raises:
        DataError: If it is missing or has other columns.
    """
    files = find_table(data_dir, _TABLE, of="Criteo attribution")
    return filled_in(
        config,
        events=[
            SourceConfig(files=files, delimiter="\t", time_unit="s", query=_TOUCHES),
            # -1 says "none" in the columns that a conversion takes from here.
            SourceConfig(files=files, delimiter="\t", time_unit="s", null_values=("", "-1"), query=_CONVERSIONS),
        ],
        items=[SourceConfig(files=files, delimiter="\t", query=_ITEMS)],
    )
