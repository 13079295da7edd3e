import json
import subprocess
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowerfunnel.serving.console.asjson import body_of, command_of
from lowerfunnel.serving.console.form import ASKED, FILTERED, Form, read_form
from lowerfunnel.serving.console.idtext import id_of_text, text_of_id, text_of_words, words_of_text
from lowerfunnel.serving.requests import CandidateRequest, Choice, Filters

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
WORDS = TEXTS.map(str.strip).filter(lambda word: word and not set(word) & set("\n\r\0"))


def form_of(**values: str) -> Form:
    return read_form(values, request_id="r", most_k=500, deadline_ms=50.0)


def request_of(**values: str) -> CandidateRequest:
    form = form_of(**values)
    assert form.wrong == {}
    assert form.request is not None
    return form.request


@given(st.integers(-(2**63), 2**63 - 1) | st.just(-(2**63)) | TEXTS)
def test_an_id_that_is_written_and_read_is_the_same(value):
    read = id_of_text(text_of_id(value))
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("7", 7),
        (" 7 ", 7),
        ('"7"', "7"),
        ("u7", "u7"),
        ("007", "007"),
        ("-3", -3),
        ("7.0", "7.0"),
        ("٣", "٣"),
        ("1_0", "1_0"),
        ("9223372036854775807", 2**63 - 1),
        ("9223372036854775808", "9223372036854775808"),
        ("", None),
        ("  ", None),
    ],
)
def test_ids_by_hand(typed, read):
    assert id_of_text(typed) == read
    assert type(id_of_text(typed)) is type(read)


@given(st.frozensets(WORDS, max_size=6))
def test_words_that_are_written_and_read_are_the_same(words):
    assert words_of_text(text_of_words(words)) == words


def test_words_by_hand():
    assert words_of_text('a, "b, c" ,, d\ne') == {"a", "b, c", "d e"}
    assert words_of_text(" , ") == frozenset()


@pytest.mark.parametrize("text", ['"a', '"a" b'])
def test_a_list_with_a_loose_quote_is_no_list(text):
    assert set(form_of(advertisers=text).wrong) == {"advertisers"}


def test_every_field_changes_the_request_and_the_address():
    typed = {
        "user": "7",
        "surface": "home",
        "subject": "9",
        "query": "red shoe",
        "k": "5",
        "country": "de",
        "least_price": "1.5",
        "most_price": "9",
        "advertisers": "a, b",
        "without_advertisers": "c",
        "categories": "d",
        "without_categories": "e",
        "all_of": "f",
        "any_of": "g, h",
        "none_of": "i",
        "per_advertiser": "2",
        "purchased": "keep",
    }
    assert set(typed) == {*ASKED, *FILTERED}
    assert request_of(**typed) == CandidateRequest(
        request_id="r",
        k=5,
        user_id=7,
        surface="home",
        subject_item_id=9,
        query="red shoe",
        filters=Filters(
            country="DE",
            advertisers=Choice(allow=frozenset({"a", "b"}), deny=frozenset({"c"})),
            categories=Choice(allow=frozenset({"d"}), deny=frozenset({"e"})),
            attributes_all=frozenset({"f"}),
            attributes_any=frozenset({"g", "h"}),
            attributes_none=frozenset({"i"}),
            least_price=1.5,
            most_price=9.0,
            exclude_purchased=False,
            most_per_advertiser=2,
        ),
        deadline_ms=50.0,
    )
    for name in typed:
        without = {other: text for other, text in typed.items() if other != name}
        assert request_of(**without) != request_of(**typed), name
        assert form_of(**without).address() != form_of(**typed).address(), name


@given(st.dictionaries(st.sampled_from([*ASKED, *FILTERED]), TEXTS))
def test_the_address_gives_the_same_form_again(values):
    form = form_of(**values)
    address = urlsplit(form.address())
    again = form_of(**dict(parse_qsl(address.query, keep_blank_values=True)))
    assert again.typed == form.typed
    assert again.request == form.request
    assert again.wrong == form.wrong


@given(st.dictionaries(st.sampled_from([*ASKED, *FILTERED]), TEXTS))
def test_whatever_is_typed_gives_a_request_or_a_sentence_and_is_kept(values):
    form = form_of(**values)
    assert (form.request is None) == bool(form.wrong)
    assert {name: form.typed[name] for name in values} == {name: text.strip() for name, text in values.items()}
    assert all(sentence.endswith((".", "”.")) and "\n" not in sentence for sentence in form.wrong.values())


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("k", "0"),
        ("k", "-1"),
        ("k", "501"),
        ("k", "1e3"),
        ("k", "1_0"),
        ("k", "٣"),
        ("k", "9" * 400),
        ("least_price", "cheap"),
        ("least_price", "nan"),
        ("least_price", "inf"),
        ("least_price", "-1"),
        ("least_price", "1e400"),
        ("most_price", "1,5"),
        ("country", "DEU"),
        ("country", "ß1"),
        ("per_advertiser", "0"),
        ("user", "u" * 513),
        ("query", "q" * 1001),
        ("advertisers", "a" * 2001),
    ],
)
def test_what_cannot_be_used_has_a_sentence_beside_its_field(name, text):
    form = form_of(**{name: text})
    assert list(form.wrong) == [name]
    assert form.request is None


def test_a_highest_price_below_the_lowest_is_refused():
    assert list(form_of(least_price="10", most_price="9.99").wrong) == ["most_price"]
    assert request_of(least_price="0", most_price="0").filters.most_price == 0.0
    assert request_of(most_price="1e9").filters.most_price == 1e9


def test_a_page_number_that_is_none_is_the_first_page():
    assert form_of(events="x", cards="-2").pages == {"events": 1, "cards": 1}
    assert form_of(events="3").pages == {"events": 3, "cards": 1}


def test_another_question_begins_on_its_first_page():
    form = form_of(user="7", events="3", cards="2")
    assert form.address() == "/?user=7&events=3&cards=2"
    assert form.address(subject="9") == "/?user=7&subject=9"
    assert form.address(events=1) == "/?user=7&cards=2"


def test_a_sentence_of_the_engine_stands_beside_the_field_that_it_names():
    form = form_of(user="7", subject="9")
    assert form.with_sentence("The subject 9 is no item.").wrong == {"subject": "The subject 9 is no item."}
    assert form.with_sentence("A user id is a string here.").wrong == {"user": "A user id is a string here."}
    assert form.with_sentence("The query is empty.").wrong == {"": "The query is empty."}


def test_the_json_leaves_out_what_is_as_it_is_anyway():
    assert body_of(request_of(user="7")) == {"k": 20, "user_id": 7}
    assert body_of(request_of(user='"7"', k="3", advertisers="b, a", purchased="keep")) == {
        "k": 3,
        "user_id": "7",
        "filters": {"advertisers": {"allow": ["a", "b"]}, "exclude_purchased": False},
    }


@given(st.dictionaries(st.sampled_from(["user", "query", "advertisers", "any_of"]), WORDS))
def test_the_json_says_everything(values):
    form = form_of(**values)
    if form.request is None:
        return
    body = json.loads(json.dumps(body_of(form.request)))
    filters = body.pop("filters", {})
    advertisers = filters.pop("advertisers", {})
    any_of = filters.pop("attributes_any", None)
    rebuilt = CandidateRequest(
        request_id="r",
        filters=Filters(
            advertisers=Choice(allow=frozenset(advertisers["allow"]) if advertisers else None),
            attributes_any=None if any_of is None else frozenset(any_of),
            **filters,
        ),
        **body,
    )
    assert rebuilt == form.request


@pytest.mark.parametrize("query", ["red shoe", 'it\'s $HOME `id` \\ "x"', "'; rm -rf /; '", "أحذية 👟"])
def test_a_shell_hands_curl_exactly_the_json(query):
    request = request_of(query=query)
    command = command_of(request, base_url="http://127.0.0.1:8080/", with_key=True)
    shown = subprocess.run(
        ["/bin/sh", "-c", 'curl() { printf "%s\\0" "$@"; }\n' + command],
        env={"LOWERFUNNEL_KEY": "lf_1"},
        capture_output=True,
        check=True,
    ).stdout.decode()
    arguments = shown.split("\0")[:-1]
    assert arguments[1] == "http://127.0.0.1:8080/v1/candidates"
    assert "Authorization: Bearer lf_1" in arguments
    assert json.loads(arguments[-1]) == body_of(request)
