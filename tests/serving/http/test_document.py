"""The OpenAPI document and the page that shows it."""

import re

import pytest

from lowerfunnel.serving.http.document import marked, schema_type


@pytest.fixture(scope="module")
def document(server):
    return server.client.get("/openapi.json").json()


def operations(document):
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def references(value):
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def test_every_reference_leads_somewhere_and_every_schema_is_used(document):
    used = set(references(document))
    assert used == {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}


def test_every_operation_is_described_with_an_example_and_its_errors(document):
    seen = set()
    for name, operation in operations(document):
        assert operation["summary"], name
        assert operation["description"], name
        seen.add(operation["operationId"])
        good = operation["responses"]["200"]["content"]
        if "application/json" in good:
            assert "example" in good["application/json"], name
        assert "500" in operation["responses"], name
        if operation["security"]:
            assert {"401", "403"} <= set(operation["responses"]), name
        if "requestBody" in operation:
            reference = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
            assert document["components"]["schemas"][reference.split("/")[-1]]["examples"], name
            assert {"400", "408", "413", "415", "422"} <= set(operation["responses"]), name
    assert len(seen) == len(list(operations(document)))


def test_every_field_that_a_client_sends_or_gets_is_described_or_speaks_for_itself(document):
    for name, schema in document["components"]["schemas"].items():
        assert schema.get("description"), name


def test_the_examples_are_answered(server, document):
    for name, operation in operations(document):
        method, path = name.split()
        if "requestBody" not in operation:
            continue
        reference = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
        for example in document["components"]["schemas"][reference.split("/")[-1]]["examples"]:
            if "deadline_ms" in example:
                example["deadline_ms"] = 5000
            answer = server.client.request(method, path, json=example)
            # The run of the example is not there, and no item may be sold in its country.
            assert answer.status_code in ((409,) if path.endswith("publish") else (200, 204)), (name, answer.text)


def test_the_page_shows_every_operation_and_schema_and_loads_nothing(server, document):
    page = server.client.get("/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    for name, operation in operations(document):
        assert f'id="{operation["operationId"]}"' in page.text
        assert name.split()[1] in page.text
    for name in document["components"]["schemas"]:
        assert f'id="schema-{name}"' in page.text
    assert "<script" not in page.text
    assert not re.search(r'(src|@import|url\()\s*=?\s*["\']?(https?:)?//', page.text)
    targets = set(re.findall(r'href="#([^"]+)"', page.text))
    assert targets <= set(re.findall(r'id="([^"]+)"', page.text))
    assert re.findall(r'href="([^#"][^"]*)"', page.text) == ["data:,", "openapi.json"]


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "integer", "minimum": 1, "maximum": 1000}, "integer, 1 to 1000"),
        ({"anyOf": [{"$ref": "#/components/schemas/X"}, {"type": "null"}]}, "X or null"),
        ({"type": "array", "items": {"type": "string"}, "maxItems": 5}, "list of string, 0 to 5"),
        ({"type": "object", "additionalProperties": {"type": "boolean"}}, "object of boolean"),
        ({"enum": ["a", "b"]}, "one of a, b"),
        ({"type": "string", "minLength": 1}, "string, 1 or more characters"),
        ({}, "anything"),
    ],
)
def test_a_schema_in_words(schema, words):
    assert schema_type(schema) == words


def test_marks_become_html_and_nothing_else_does():
    assert marked("a `b<c` **d** <script>") == "a <code>b&lt;c</code> <b>d</b> &lt;script&gt;"
