"""The OpenAPI document, and the page that shows it: rendered here, it loads nothing from anywhere."""

import json
import re
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Any, Literal

import jinja2
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from markupsafe import Markup, escape
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

_METHODS = ("get", "put", "post", "delete", "patch")
_REFERENCE = "#/components/schemas/"


def openapi_document(app: FastAPI, *, bodies: Sequence[type[BaseModel]]) -> dict[str, Any]:
    """Return the OpenAPI document of all routes.

    Args:
        app: With all its routes.
        bodies: Models of the bodies that routes read themselves, which FastAPI does not see.
    """
    document = get_openapi(
        title=app.title, version=app.version, description=app.description, tags=app.openapi_tags, routes=app.routes
    )
    models: list[tuple[type[BaseModel], Literal["validation"]]] = [(model, "validation") for model in bodies]
    _, schemas = models_json_schema(models, ref_template=_REFERENCE + "{model}")
    components = document.setdefault("components", {})
    components.setdefault("schemas", {}).update(schemas.get("$defs", {}))
    components["schemas"] = dict(sorted(components["schemas"].items()))
    components["securitySchemes"] = {
        "key": {"type": "http", "scheme": "bearer", "description": "A key of this server: `lf_<id>_<secret>`."}
    }
    return document


def reference_page(document: dict[str, Any]) -> str:
    """Return an OpenAPI document as a page of HTML without scripts."""
    operations = [
        {"path": path, "method": method, **operation}
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if method in _METHODS
    ]
    schemas = document.get("components", {}).get("schemas", {})
    return (
        _environment()
        .get_template("reference.html.j2")
        .render(info=document["info"], operations=operations, schemas=schemas, schema_type=schema_type)
    )


def marked(text: str) -> Markup:
    """Return text as HTML in which `code` and **weight** are what Markdown makes of them."""
    shown = str(escape(text))
    shown = re.sub(r"`([^`]+)`", r"<code>\1</code>", shown)
    return Markup(re.sub(r"\*\*([^*]+)\*\*", r"<b>\1</b>", shown))  # noqa: S704 - escaped above


def schema_type(schema: dict[str, Any]) -> str:
    """Return what a schema asks for in a few words: `integer, 1 to 1000`, `list of string`, `Filters or null`."""
    if "$ref" in schema:
        return str(schema["$ref"]).removeprefix(_REFERENCE)
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(schema_type(choice) for choice in schema["anyOf"]))
    if "enum" in schema:
        return "one of " + ", ".join(str(value) for value in schema["enum"])
    if "const" in schema:
        return f"{schema['const']!r}"
    kind = schema.get("type", "anything")
    if kind == "array":
        return f"list of {schema_type(schema.get('items', {}))}{_bounds(schema, 'minItems', 'maxItems', '')}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {schema_type(schema['additionalProperties'])}"
    if kind == "string":
        shown = schema.get("format", "string")
        return f"{shown}{_bounds(schema, 'minLength', 'maxLength', ' characters')}"
    return f"{kind}{_bounds(schema, 'minimum', 'maximum', '')}"


def _bounds(schema: dict[str, Any], least: str, most: str, unit: str) -> str:
    low, high = schema.get(least), schema.get(most)
    if low is None and high is None:
        return ""
    if high is None:
        return f", {low} or more{unit}"
    return f", {0 if low is None else low} to {high}{unit}"


@cache
def _environment() -> jinja2.Environment:
    def load(name: str) -> str | None:
        for place in ("lowerfunnel.serving.http", "lowerfunnel.page"):
            file = resources.files(place).joinpath(name)
            if file.is_file():
                return file.read_text(encoding="utf-8")
        return None

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(load),
        autoescape=True,
        undefined=jinja2.Undefined,  # OpenAPI leaves out what is empty
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["marked"] = marked
    environment.filters["shown_json"] = lambda value: json.dumps(value, indent=2, ensure_ascii=False)
    return environment
