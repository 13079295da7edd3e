"""Who may see the page, where keys are configured: a person gives a key once, and the browser keeps it in a cookie.

The cookie is HttpOnly and SameSite=Strict: no script reads it, and no other site can make the browser send it.
"""

from urllib.parse import parse_qs, quote, unquote

from fastapi import Request, Response

COOKIE = "lowerfunnel_key"
LONGEST_BODY_BYTES = 4096
"""Of a login."""


def read_key(request: Request) -> str | None:
    """Return the key that a request carries: of the header `Authorization: Bearer`, else of the cookie."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and key.strip():
        return key.strip()
    return unquote(request.cookies.get(COOKIE, "")) or None


def keep_key(response: Response, key: str, *, secure: bool) -> None:
    """Set the cookie; `secure` where the page came over https."""
    response.set_cookie(COOKIE, quote(key, safe=""), httponly=True, samesite="strict", secure=secure, path="/")


def forget_key(response: Response) -> None:
    """Take the cookie away."""
    response.delete_cookie(COOKIE, httponly=True, samesite="strict", path="/")


def from_elsewhere(request: Request) -> bool:
    """Say whether another site made the browser send this request."""
    return request.headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}


async def key_of_form(request: Request) -> str | None:
    """Return the key that was typed into the login form; None if none was, or the body is too long to be one."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > LONGEST_BODY_BYTES:
            return None
    fields = parse_qs(body.decode("utf-8", "replace"))
    return next((key.strip() for key in fields.get("key", []) if key.strip()), None)
