"""Macros of cards: what each says, that a seed decides it, and that no text grows without end."""

from datetime import UTC, datetime, timedelta

import pytest

from kernel.api import Refused

from .macros import DEEPEST, Macros, lasting
from .records import Character, Company, Persona
from .scenes import macros_of

NOW = datetime(2026, 11, 5, 9, 7, tzinfo=UTC)


def macros(seed: int = 0, **more) -> Macros:
    return Macros("Ann", "Bo", seed=seed, now=NOW, **more)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{{user}} meets {{char}}", "Ann meets Bo"),
        ("{{ User }} {{CHAR}} {{bot}}", "Ann Bo Bo"),
        ("<USER> <BOT> <CHAR> <user> <|user|> <|bot|>", "Ann Bo Bo Ann Ann Bo"),
        ("{{time}} {{isotime}}", "09:07 09:07"),
        ("{{date}}, a {{weekday}} ({{isodate}})", "November 5, 2026, a Thursday (2026-11-05)"),
        ("{{time_UTC+2}} {{time_utc-10}}", "11:07 23:07"),
        ("a{{// nothing {{user}} }}b{{comment: x}}c{{noop}}", "abc"),
        ("a{{newline}}b", "a\nb"),
        ("a \n{{trim}}\n\n b", "ab"),
        ("{{trim}}\n a", "a"),
        ("{{reverse:abc}}", "cba"),
        ("{{random:{{user}},{{user}}}}", "Ann"),
        ("{{random::x, y::x, y}}", "x, y"),
        ("{{random:one\\, two}}", "one, two"),
        ("{{unknown}} {{getvar::x}} {{user", "{{unknown}} {{getvar::x}} {{user"),
        ("}} { {user} }", "}} { {user} }"),
        ("{{{{user}}}}", "{{Ann}}"),
        ("<table> <|im_start|>", "<table> <|im_start|>"),
        ("{{roll:0}} {{roll:d0}} {{roll:x}}", "{{roll:0}} {{roll:d0}} {{roll:x}}"),
        ("{{original}}", "{{original}}"),
    ],
)
def test_what_each_says(text: str, said: str):
    assert macros().expand(text) == said


def test_a_text_by_its_name_is_put_in_as_it_is():
    some = macros(values={"scenario": "{{user}} in a wood"})
    assert some.expand("{{Scenario}}.") == "{{user}} in a wood."
    assert some.expand("{{original}}!", original="Be kind") == "Be kind!"


def test_the_seed_decides_dice_and_chances():
    text = "{{roll:6d6}} {{roll:d20}} {{roll:100}} {{random:a,b,c,d,e,f,g}}"
    assert macros(1).expand(text) == macros(1).expand(text)
    assert len({macros(seed).expand(text) for seed in range(20)}) > 15


def test_dice_stay_in_their_bounds():
    rolls = {int(macros(seed).expand("{{roll:2d6+1}}")) for seed in range(300)}
    assert rolls == set(range(3, 14))
    assert {macros(seed).expand("{{roll:3}}") for seed in range(60)} == {"1", "2", "3"}
    twenty = {int(macros(seed).expand("{{roll:20}}")) for seed in range(300)}
    assert twenty == set(range(1, 21))


def test_a_pick_is_the_conversations():
    text = "{{pick:a,b,c,d}}{{pick:a,b,c,d}}{{pick:a,b,c,d}}"
    assert len({macros(seed, place="x").expand(text) for seed in range(9)}) == 1
    assert len({macros(place=str(place)).expand(text) for place in range(30)}) > 10
    several = [macros(place=str(place)).expand(text) for place in range(30)]
    assert any(len(set(picked)) > 1 for picked in several), "each pick is one of its own"


def test_only_names_in_what_was_said():
    assert macros().names("{{user}}, <BOT>: {{roll:6}} {{time}}") == "Ann, Bo: {{roll:6}} {{time}}"


@pytest.mark.parametrize(
    ("idle", "said"),
    [
        (None, "just now"),
        (timedelta(seconds=20), "a few seconds"),
        (timedelta(minutes=1), "a minute"),
        (timedelta(hours=1, minutes=50), "an hour"),
        (timedelta(days=3), "3 days"),
    ],
)
def test_how_long_nobody_said_anything(idle: timedelta | None, said: str):
    assert lasting(idle) == said
    assert macros(idle=idle).expand("{{idle_duration}}") == said


def test_nesting_has_an_end():
    deep = "{{random:" * 200 + "x" + "}}" * 200
    assert macros().expand(deep).count("{{random:") == 200 - DEEPEST


@pytest.mark.parametrize("text", ["{{user}}" * 20_000, "{{big}}" * 100, "<USER>" * 20_000])
def test_growing_has_an_end(text: str):
    with pytest.raises(Refused, match="grows without end"):
        macros(values={"big": "x" * 50_000}).expand(text)


def test_all_texts_of_one_moment_grow_together():
    some = macros(values={"big": "x" * 1_000_000})
    for _ in range(4):
        some.expand("{{big}}")
    with pytest.raises(Refused, match="grows without end"):
        some.expand("{{big}}")
    long = Macros("Ann", "x" * 1_000_000)
    with pytest.raises(Refused, match="grows without end"):
        long.names("<BOT>" * 5)


def test_what_was_said_may_have_any_braces():
    """A pasted JSON must not end the conversation in which it was said."""
    pasted = "<p>" + '{"a":{"b":{"c":1}}}' * 11_000
    latex = "{{" + "x" * 2_000_000 + "}}"
    assert macros().names(pasted + latex) == pasted + latex


def test_a_value_never_is_expanded_again():
    some = macros(values={"a": "{{a}}{{a}}"})
    assert some.expand("{{a}}") == "{{a}}{{a}}"


def test_who_is_there():
    alone = Macros("Ann", "Bo")
    said = "{{group}}|{{groupNotMuted}}|{{charIfNotGroup}}|{{notChar}}|<GROUP>|<CHARIFNOTGROUP>"
    assert alone.expand(said) == "Bo|Bo|Bo|Ann|Bo|Bo"
    bo = Character("bo", "Bo")
    company = Company(("Ada", "Bo", "Cy"), ("Cy",))
    three = macros_of(bo, Persona(name="Ann"), company=company)
    assert three.expand(said) == (
        "Ada, Bo, Cy|Ada, Bo|Ada, Bo, Cy|Ada, Cy, Ann|Ada, Bo, Cy|Ada, Bo, Cy"
    )
    assert three.names("{{group}} <group>") == "{{group}} <group>", "said by somebody"
