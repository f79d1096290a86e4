"""A struct as form fields: everything from its annotations, and back again."""

import enum
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest
from jinja2 import Environment, FileSystemLoader, select_autoescape
from msgspec import UNSET, Meta, UnsetType

from kernel.checks import check
from kernel.forms import Field, Secret, fields
from kernel.sampling import Sampling, Struct

ROOT = Path(__file__).parent.parent


class Numbers(Struct, frozen=True):
    share: Annotated[float, Meta(ge=0, le=5)] = 0.25
    count: Annotated[int, Meta(ge=0)] = 1
    name: str = ""


class Mood(enum.Enum):
    CALM = "calm"
    LOUD = "loud"


class Settings(Struct, frozen=True):
    on: Annotated[bool, Meta(description="Whether it speaks.")] = True
    voice: Annotated[Literal["alba", "bran"], Meta(title="Who speaks")] = "alba"
    mood: Mood = Mood.CALM
    perhaps: bool | UnsetType = UNSET
    speed: Annotated[float, Meta(ge=0.5, le=2)] = 1.0
    threads: Annotated[int, Meta(ge=0, le=512)] = 0
    context_length: Annotated[int, Meta(ge=1, le=10_000_000)] = 4096
    seed: Annotated[int, Meta(ge=-1)] | None = None
    ratio: Annotated[float, Meta(gt=0, lt=1)] | UnsetType = UNSET
    name: Annotated[str, Meta(max_length=20)] = "You & me"
    prompt: Annotated[str, Meta(extra={"area": True})] = ""
    stop: tuple[str, ...] = ("a", "b")
    colours: tuple[
        Annotated[str, Meta(pattern="^#", extra={"wants": "a colour as in #0af"})], ...
    ] = ()
    bias: dict[int, float] = msgspec.field(default_factory=dict[int, float])
    token: Annotated[Secret, Meta(description="From their site.")] = msgspec.field(
        default_factory=Secret
    )


def of(now: Settings | None = None) -> dict[str, Field]:
    return {field.name: field for field in fields(Settings, now)}


def test_kinds() -> None:
    assert {name: field.kind for name, field in of().items()} == {
        "on": "switch", "voice": "choice", "mood": "choice", "perhaps": "choice", "speed": "range",
        "threads": "number", "context_length": "number", "seed": "number", "ratio": "number",
        "name": "text", "prompt": "area", "stop": "list", "bias": "list",
        "token": "secret", "colours": "list",
    }  # fmt: skip


def test_a_field_says_what_it_wants() -> None:
    wants = {name: field.wants for name, field in of().items()}
    assert wants["speed"] == "a number from 0.5 to 2"
    assert wants["context_length"] == "a whole number from 1 to 10,000,000"
    assert wants["seed"] == "a whole number of at least -1"
    assert wants["ratio"] == "a number above 0 and below 1"
    assert wants["voice"] == "one of alba, bran"
    assert wants["name"] == "text of at most 20 characters"
    assert wants["stop"] == "a list, each text"
    assert wants["colours"] == "a list, each a colour as in #0af"


def test_labels_help_bounds_and_choices() -> None:
    all = of()
    assert (all["voice"].label, all["context_length"].label) == ("Who speaks", "Context length")
    assert all["on"].help == "Whether it speaks."
    assert (all["speed"].low, all["speed"].high, all["speed"].step) == (0.5, 2, 0.01)
    assert all["mood"].choices == (("calm", "calm"), ("loud", "loud"))
    assert all["perhaps"].choices == (("", "Default"), ("true", "On"), ("false", "Off"))


def test_values_and_defaults() -> None:
    now = Settings(speed=1.25, seed=7, stop=("x",), token=Secret("hush"), bias={3: 0.5}, on=False)
    all = of(now)
    assert {name for name, field in all.items() if field.changed} == {
        "speed", "seed", "stop", "token", "bias", "on",
    }  # fmt: skip
    assert (all["speed"].value, all["speed"].default) == ("1.25", "1")
    assert (all["stop"].value, all["stop"].default) == ("x", "a\nb")
    assert (all["bias"].value, all["on"].value, all["token"].value) == ("3: 0.5", False, "")
    assert "hush" not in repr(all)


def test_a_slider_never_rounds_what_is_set() -> None:
    assert of(Settings(speed=1.23))["speed"].step == 0.01
    assert of(Settings(speed=1.2345))["speed"].step is None


def test_every_sampling_parameter_has_a_field() -> None:
    assert [field.name for field in fields(Sampling)] == [*Sampling.__struct_fields__]
    assert "something else" not in {field.wants for field in fields(Sampling)}


# --- rendered, and sent back ------------------------------------------------------------


class Reader(HTMLParser):
    """Reads a form as a browser would, without scripts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.sent: dict[str, Any] = {}
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.area = self.select = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        has = {name: value or "" for name, value in attrs}
        self.tags.append((tag, has))
        if tag == "input" and (has.get("type") != "checkbox" or "checked" in has):
            old = self.sent.get(has["name"])
            self.sent[has["name"]] = has.get("value", "") if old is None else [old, has["value"]]
        elif tag == "textarea":
            self.area = has["name"]
            self.sent[self.area] = ""
        elif tag == "select":
            self.select = has["name"]
        elif tag == "option" and ("selected" in has or self.select not in self.sent):
            self.sent[self.select] = has["value"]

    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea":  # the first line end of a textarea is not part of it
            self.sent[self.area] = self.sent[self.area].removeprefix("\n")
            self.area = ""

    def handle_data(self, data: str) -> None:
        if self.area:
            self.sent[self.area] += data


def environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(ROOT / "templates"), autoescape=select_autoescape(),
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip


def render(now: Settings, errors: Mapping[str, str] = {}, id: str = "tts") -> Reader:
    jinja = environment()
    source = '{% from "_form.html" import fields %}{{ fields(items, errors, "p", id) }}'
    template = jinja.from_string(source)
    template.environment.autoescape = True
    return Reader(template.render(items=fields(Settings, now), errors=errors, id=id))


@pytest.mark.parametrize(
    "now",
    [
        Settings(),
        Settings(
            on=False, voice="bran", mood=Mood.LOUD, perhaps=False, speed=1.2345, threads=3, seed=-1,
            ratio=0.1, name="", prompt="\n\nline\n  two", stop=(), bias={1: -0.5},
        ),
        Settings(name="of two\nlines"),
        Settings(name='"><script>x', prompt="</textarea><img x>", stop=("<",)),
    ],
)  # fmt: skip
def test_what_is_shown_comes_back_unchanged(now: Settings) -> None:
    reader = render(now)
    good, bad = check(Settings, reader.sent)
    assert bad == {}
    assert Settings(**good) == now
    assert not {tag for tag, _ in reader.tags} & {"script", "img"}


def test_marks_labels_and_errors() -> None:
    reader = render(Settings(speed=2, on=False), {"speed": "Speed must be a number from 0.5 to 2."})
    by_id = {has["id"]: (tag, has) for tag, has in reader.tags if "id" in has}
    labels = {has["for"] for tag, has in reader.tags if tag == "label"}
    assert labels == {f"p-{name}" for name in Settings.__struct_fields__}
    assert labels < by_id.keys()
    speed = by_id["p-speed"][1]
    assert (speed["aria-invalid"], speed["aria-describedby"]) == ("true", "p-speed-error ")
    assert "p-speed-error" in by_id
    assert by_id["p-on"][1]["aria-describedby"] == "p-on-help"
    resets = [has for _, has in reader.tags if has.get("class") == "reset"]
    assert [has["id"] for has in resets] == ["p-on-reset", "p-speed-reset"]
    assert {has["type"] for has in resets} == {"button"}, "Enter in a text field must not reset"
    assert '"field": "speed"' in resets[1]["hx-vals"]
    assert resets[0]["title"] == "Default: on"
    assert by_id["p-context_length"][1]["placeholder"] == "4096"


def test_without_an_extension_there_is_nothing_to_reset() -> None:
    assert not [
        1 for _, has in render(Settings(speed=2), id="").tags if has.get("class") == "reset"
    ]


def test_a_secret_is_not_in_the_page() -> None:
    reader = render(Settings(token=Secret("hush")))
    assert "hush" not in repr(reader.tags)
    assert check(Settings, {"token": ""}) == ({}, {}), "left empty, it stays as it is"


class Grouped(Struct, frozen=True):
    """One field at once, two below a heading, and another name of yesterday."""

    plain: int = 1
    fast: Annotated[int, Meta(extra={"group": "Speed & size"})] = 2
    slow: Annotated[int, Meta(extra={"group": "Speed & size"})] = 3

    @staticmethod
    def modern(values: Any) -> tuple[dict[str, Any], dict[str, str]]:
        """`quick` is `fast` today."""
        gone = {"never": "It is gone. Leave it out."} if "never" in values else {}
        names = {"quick": "fast"}
        return {str(names.get(k, k)): v for k, v in values.items() if k not in gone}, gone


def test_a_group_is_folded_away_and_says_what_is_changed_in_it() -> None:
    assert [field.group for field in fields(Grouped)] == ["", "Speed & size", "Speed & size"]
    source = '{% from "_form.html" import fields %}{{ fields(items, errors, "p") }}'
    template = environment().from_string(source)
    template.environment.autoescape = True
    html = template.render(items=fields(Grouped, Grouped(fast=5)), errors={})
    assert "Speed &amp; size · 1 changed</summary>" in html
    assert html.index('id="p-plain"') < html.index("<details") < html.index('id="p-fast"')
    assert html.count("<details") == 1
    assert " open>" not in html
    wrong = template.render(items=fields(Grouped), errors={"slow": "No."})
    assert '<details class="folded" id="p-group-1" open>' in wrong


def test_a_struct_may_know_names_of_yesterday() -> None:
    assert check(Grouped, {"quick": "7"}) == ({"fast": 7}, {})
    assert check(Grouped, {"never": 1, "plain": 2}) == (
        {"plain": 2},
        {"never": "It is gone. Leave it out."},
    )


@pytest.mark.parametrize(
    ("typed", "number"),
    [
        (".5", 0.5), ("0,7", 0.7), (" ,25", 0.25), ("3.", 3.0), ("+1", 1.0), (" 2 ", 2.0),
        ("1e0", 1.0), ("1,5", 1.5), ("0,125", 0.125), ("٣", 3.0), ("1,000", None), ("9,5", None),
        ("0,7,1", None), ("1_0", None), (".", None), (",", None), ("nan", None), ("inf", None),
    ],
)  # fmt: skip
def test_numbers_as_people_type_them(typed: str, number: float | None) -> None:
    good, bad = check(Numbers, {"share": typed})
    assert good.get("share") == number
    assert bool(bad) is (number is None)


def test_a_whole_number_has_no_half_and_a_text_stays_one() -> None:
    good, bad = check(Numbers, {"count": "2,5", "name": ".5"})
    assert (good, [*bad]) == ({"name": ".5"}, ["count"])
    assert check(Numbers, {"count": " 2.0"})[0] == {"count": 2}
    assert check(Numbers, {"count": " +9007199254740993"})[0] == {"count": 9007199254740993}
    assert check(Numbers, {"count": "1,000"})[1]


def test_a_range_that_may_be_nothing_is_drawn() -> None:
    class Perhaps(Struct, frozen=True):
        count: Annotated[int, Meta(ge=0, le=10)] | None = 5

    assert [field.kind for field in fields(Perhaps, Perhaps())] == ["range"]
    assert [field.kind for field in fields(Perhaps, Perhaps(None))] == ["number"]


def test_choices_stand_as_they_were_written() -> None:
    class Sizes(Struct, frozen=True):
        size: Literal["small", "medium", "large"] = "small"
        perhaps: Annotated[Literal[3, 1, 2] | None, Meta(description="How many.")] = None

    size, perhaps = fields(Sizes)
    assert [value for value, _ in size.choices] == ["small", "medium", "large"]
    assert [value for value, _ in perhaps.choices] == ["", "3", "1", "2"]
    assert size.wants == "one of small, medium, large"


def test_a_box_for_a_number_hands_on_what_was_typed() -> None:
    """A browser's own box for numbers drops what its language does not write: "0,5" becomes 5."""
    boxes = {has["name"]: has for tag, has in render(Settings()).tags if tag == "input"}
    assert boxes["ratio"]["type"] == boxes["threads"]["type"] == "text"
    assert (boxes["ratio"]["inputmode"], boxes["seed"]["inputmode"]) == ("decimal", "text")
