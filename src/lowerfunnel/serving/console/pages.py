"""Templates, assets and the headers that every page is sent with."""

import hashlib
from collections.abc import Mapping
from functools import cache
from importlib import resources

import jinja2
from fastapi.responses import Response

from lowerfunnel.page.formats import count
from lowerfunnel.serving.console.wording import milliseconds

_PLACES = {
    "shell.css": ("lowerfunnel.page", "shell.css", "text/css"),
    "console.css": ("lowerfunnel.serving.console", "assets/console.css", "text/css"),
    "console.js": ("lowerfunnel.serving.console", "assets/console.js", "text/javascript"),
    "icon.svg": ("lowerfunnel.serving.console", "assets/icon.svg", "image/svg+xml"),
    "htmx.min.js": ("lowerfunnel.serving.console", "assets/htmx.min.js", "text/javascript"),
}


def page(template: str, values: Mapping[str, object], *, status: int = 200, show_images: bool = False) -> Response:
    """Return a page that loads nothing from elsewhere, except pictures over https where `show_images` allows them."""
    html = _environment().get_template(template).render(asset=address_of_asset, **values)
    images = "'self' https:" if show_images else "'self'"
    policy = (
        f"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src {images}; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
    headers = {
        "Content-Security-Policy": policy,
        "Cache-Control": "no-store",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }
    # A text out of a store may hold half of a surrogate pair, which UTF-8 cannot say.
    return Response(html.encode("utf-8", "replace"), status, headers, media_type="text/html; charset=utf-8")


def asset(name: str) -> Response | None:
    """Return a file that the pages load, None if there is none of this name."""
    if name not in _PLACES:
        return None
    headers = {"Cache-Control": "public, max-age=31536000, immutable", "X-Content-Type-Options": "nosniff"}
    return Response(_bytes_of(name), headers=headers, media_type=_PLACES[name][2] + "; charset=utf-8")


def address_of_asset(name: str) -> str:
    """Return where a file is loaded from; the address changes with its content, so that it may be kept for ever."""
    return f"/console/assets/{name}?v={hashlib.sha256(_bytes_of(name)).hexdigest()[:12]}"


@cache
def _bytes_of(name: str) -> bytes:
    package, path, _ = _PLACES[name]
    return resources.files(package).joinpath(path).read_bytes()


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("lowerfunnel.serving.console"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["count"] = count
    environment.filters["milliseconds"] = milliseconds
    return environment
