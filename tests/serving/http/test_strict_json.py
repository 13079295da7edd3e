"""The gate for strangers' JSON."""

import json
import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lowerfunnel.serving.http.refusals import RefusalError
from lowerfunnel.serving.http.strict_json import MOST_DEPTH, parse_json

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)
# Bytes near JSON find more than bytes at random.
PIECES = st.lists(
    st.sampled_from(
        [b"{", b"}", b"[", b"]", b",", b":", b'"', b'"a"', b'"a":', b"1", b"-", b".", b"e9", b"1e999", b"NaN", b"-Infinity",
         b"null", b"true", b"\\u", b"\\ud800", b'"\\ud83d\\ude00"', b'"\\ud800"', b" ", b"\n", b"\xff", b"\xed\xa0\x80",
         b"9223372036854775807", b"9223372036854775808", b"\xef\xbb\xbf", b"\x00"]
    ),
    max_size=12,
).map(b"".join)  # fmt: skip


def refusal(data: bytes | str) -> str:
    with pytest.raises(RefusalError) as caught:
        parse_json(data)
    assert caught.value.status == 400
    return caught.value.message


def same(one: object, other: object) -> bool:
    """Whether two values are the same in type too: 1, 1.0 and true are equal in Python."""
    return json.dumps(one) == json.dumps(other)


@given(VALUES)
def test_whatever_json_writes_is_read_as_it_was(value):
    assert same(parse_json(json.dumps(value).encode()), value)
    assert same(parse_json(json.dumps(value, ensure_ascii=False, indent=1).encode()), value)


@given(PIECES | st.binary(max_size=40))
@example(b"")
@example(b"1e400")
@example(b'{"a":1,"a":1}')
def test_any_bytes_are_refused_with_a_sentence_or_read_as_json_reads_them(data):
    try:
        value = parse_json(data)
    except RefusalError:
        sentence = refusal(data)
        assert sentence.endswith(".")
        sentence.encode("utf-8")
        return
    assert same(value, json.loads(data))
    json.dumps(value, allow_nan=False, ensure_ascii=False).encode("utf-8")


@given(st.dictionaries(TEXTS, st.integers(0, 9), min_size=1, max_size=5), st.data())
def test_a_key_that_comes_twice_is_refused_wherever_it_stands(members, data):
    key = data.draw(st.sampled_from(sorted(members)))
    pairs = data.draw(st.permutations([*members.items(), (key, 1)]))
    text = "{" + ",".join(f"{json.dumps(k)}:{v}" for k, v in pairs) + "}"
    assert "comes twice" in refusal(text)
    assert "comes twice, at x[1]" in refusal('{"x":[0,' + text + "]}")


@given(st.integers(1, 80), st.sampled_from(["[", '{"a":']))
def test_nesting_is_counted_as_a_person_counts(depth, opener):
    text = opener * depth + ("1" if opener != "[" else "") + ("]" if opener == "[" else "}") * depth
    wide = '{"many": [' + ",".join(["[]"] * 100) + '], "text": "[[[[\\"{{{", "deep": ' + text + "}"
    if depth + 1 > MOST_DEPTH:
        assert "nested deeper than 32 levels, at deep" in refusal(wide)
    else:
        assert parse_json(wide) == json.loads(wide)


ONE_WAY = "The body cannot be read in one way only: "


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('{"k": NaN}', ONE_WAY + "NaN is no number of JSON, at k."),
        ("[1, -Infinity]", ONE_WAY + "-Infinity is no number of JSON, at [1]."),
        ('{"a": {"b": [1e999]}}', ONE_WAY + "the number 1e999 is beyond what a double holds, at a.b[0]."),
        ("9223372036854775808", ONE_WAY + "the integer 9223372036854775808 is beyond 64 bits, at the body."),
        ('{"x": "\\ud800"}', ONE_WAY + "the string holds half of a surrogate pair, at x."),
        ('{"\\udc00": 1}', ONE_WAY + "a key holds half of a surrogate pair, at the body."),
        ('{"a": 1,}', "The body is not JSON: expecting property name enclosed in double quotes at line 1, column 9."),
        ("", "The body is not JSON: expecting value at line 1, column 1."),
    ],
)
def test_the_sentence_names_the_place(text, sentence):
    assert refusal(text) == sentence


def test_of_two_faults_the_first_in_the_text_is_named():
    assert "at a[1]" in refusal('{"a": [1, NaN], "b": 1e999}')


def test_the_largest_integers_and_whole_pairs_pass():
    assert parse_json(b"[9223372036854775807, -9223372036854775808]") == [2**63 - 1, -(2**63)]
    assert parse_json(b'"\\ud83d\\ude00"') == "\U0001f600"
    assert parse_json(b'"\\\\ud800"') == "\\ud800"
    assert math.copysign(1, parse_json(b"-0.0")) == -1


@pytest.mark.parametrize("size", [5_000, 1_000_000])
def test_deep_and_long_text_is_refused_quickly(size):
    refusal("[" * size)
    refusal("[" * size + "]" * size)
    refusal("1" * size)
    refusal("0." + "1" * size)
    refusal("-" + "1" * size)
    refusal('{"a":' * size)


def test_bytes_that_are_not_utf_8_are_refused_with_their_place():
    assert refusal(b'"\xff"') == "The body is not UTF-8: invalid start byte at byte 1."
    assert "not UTF-8" in refusal(b'"\xed\xa0\x80"')
    assert "not JSON" in refusal(b"\xef\xbb\xbf{}")
    assert "not" in refusal('{"k":1}'.encode("utf-16"))
