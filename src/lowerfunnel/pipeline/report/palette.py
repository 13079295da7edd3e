"""How models and actions look. Colours are CSS variables, see `lowerfunnel.page.charts`."""

from lowerfunnel.pipeline.report.formats import MODEL_NAMES

DASHES: dict[str, list[int]] = {
    "lowerfunnel": [1, 0],
    "popularity": [7, 3],
    "untrained": [2, 3],
    "itemknn": [1, 0],
    "als": [1, 0],
    "own_history": [5, 2, 1, 2],
    "oracle": [10, 3, 2, 3],
}
SHAPES = {
    "lowerfunnel": "circle",
    "popularity": "square",
    "untrained": "cross",
    "itemknn": "triangle-up",
    "als": "diamond",
    "own_history": "triangle-down",
    "oracle": "stroke",
}

ACTION_NAMES = {
    "impression": "Impression",
    "view": "View",
    "click": "Click",
    "hide": "Hide",
    "save": "Save",
    "favorite": "Favourite",
    "add_to_cart": "Cart",
    "checkout": "Purchase",
    "signup": "Sign-up",
    "lead": "Lead",
    "return": "Return",
}
"""Shown names of the canonical actions, in funnel order."""


def model_colour(model: str) -> str:
    """Return the CSS colour of a model; models that are not known share one."""
    return f"var(--m-{model})" if model in MODEL_NAMES else "var(--m-other)"


def action_name(action: str) -> str:
    """Return the name a reader sees."""
    return ACTION_NAMES.get(action, action)


def action_colour(action: str) -> str:
    """Return the CSS colour of an action; actions that are not known share one."""
    return f"var(--a-{action})" if action in ACTION_NAMES else "var(--m-other)"
