"""Every field that holds text has its row in the XSS table; a new one cannot be forgotten."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from kernel.testing import App, running
from tests.boundary import test_scripts
from tests.boundary.conftest import BUILT_IN
from tests.boundary.tables import TEXTS, row
from tests.boundary.texts import fields, texts

ADD = (
    "reaches no attack. Let a step of tests/boundary/test_scripts.py carry the vectors through it, "
    "and add it with that step to TEXTS in tests/boundary/tables.py; or say there why nobody ever "
    "sees it."
)


@pytest.fixture
async def app() -> AsyncIterator[App]:
    async with running(*BUILT_IN) as app:
        yield app


async def test_every_text_is_attacked(app: App):
    found = texts(app)
    assert len(found) > 100
    for field in found:
        assert row(field), f"{field} {ADD}"


async def test_no_row_is_left_over(app: App):
    found = texts(app)
    for key in TEXTS:
        kind, name = key.split(" ", 1)
        if name != "*" and kind in ("action", "setting", "option", "column", "data"):
            start = key.removesuffix("*")
            assert any(f.startswith(start) for f in found), f"{key} is gone: take its row out."


def test_a_new_field_has_no_row():
    assert not row("data Clip.title")
    assert not row("column messages.translation")


def test_every_row_names_a_step_or_a_reason():
    steps = {step.__name__ for step in test_scripts.STEPS}
    for key, how in TEXTS.items():
        assert how in steps or how.startswith("never shown: "), key


class Inner(msgspec.Struct):
    """Nothing."""


class Every(msgspec.Struct):
    """Texts in all forms, and what is none."""

    a: str
    b: str | None
    c: list[str]
    d: dict[str, int]
    e: Any
    f: tuple[int, str]
    g: bytes
    h: int
    i: float | bool
    j: Inner


def test_texts_are_found_in_every_form():
    assert [*fields(Every)] == ["a", "b", "c", "d", "e", "f", "g"]
