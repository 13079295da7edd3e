"""The part that recipes of tests share: a synthetic world small enough to train on in seconds, and its log."""


def tiny_world(*, users: int, items: int, advertisers: int, days: int, visits_per_day: float = 1.5) -> str:
    """Return the tables `[world]` and `[log]` of a recipe, as TOML.

    Clicks and carts are far more frequent than in a real log, so that a few hundred visits have all that a model learns from.
    """
    return f"""
[world]
n_users = {users}
n_items = {items}
n_advertisers = {advertisers}
n_categories = 4
days = {days}
[world.users]
visits_per_day = {visits_per_day}
[world.advertisers]
daily_budget_clicks = 1e6
[world.response]
click_logit = -4.0
cart_logit = -3.0
[log]
synthetic = true
buckets = 2
[[log.events]]
files = "events/day-*.parquet"
[[log.items]]
files = "items.parquet"
[[log.users]]
files = "users.parquet"
"""
