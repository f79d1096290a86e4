"""Every control at the level where it can break: form, file, turn and request."""

import asyncio
import errno
import json
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from msgspec import UNSET, structs

from kernel.api import Refused, Sampling, Turn, parameters
from kernel.testing import App, Scripted, running
from kernel.testing.page import Page
from tools import parameters as page_of_parameters

from . import dice, presets, seeds, texts
from .api import PARAMETERS
from .shelf import Shelf

KNOWN = parameters()
ALL = (*KNOWN, "extra")
ORDER = list(texts.ORDER)
DRAWN = 1234567
MEMORY = Path("/dev/shm")
"""Of Linux: another disk than that of the tests."""

TYPED: dict[str, tuple[str, Any]] = {
    # the field: what is typed, and what the model is asked
    "temperature": ("0.7", 0.7), "dynamic_temperature": ("true", True),
    "dynatemp_low": ("0.5", 0.5), "dynatemp_high": ("1.5", 1.5), "dynatemp_exponent": ("2", 2.0),
    "smoothing_factor": ("0.3", 0.3), "smoothing_curve": ("1.5", 1.5), "top_p": ("0.9", 0.9),
    "top_k": ("40", 40), "min_p": ("0.05", 0.05), "top_n_sigma": ("1", 1.0),
    "typical_p": ("0.95", 0.95), "xtc_threshold": ("0.2", 0.2), "xtc_probability": ("0.5", 0.5),
    "epsilon_cutoff": ("3", 3.0), "eta_cutoff": ("6", 6.0), "tfs": ("0.9", 0.9),
    "top_a": ("0.2", 0.2), "adaptive_target": ("0.4", 0.4), "adaptive_decay": ("0.5", 0.5),
    "dry_multiplier": ("0.8", 0.8), "dry_allowed_length": ("3", 3), "dry_base": ("2", 2.0),
    "dry_sequence_breakers": (r'"\n", ":"', ("\n", ":")), "repetition_penalty": ("1.15", 1.15),
    "frequency_penalty": ("0.1", 0.1), "presence_penalty": ("-0.5", -0.5),
    "encoder_repetition_penalty": ("1.05", 1.05), "no_repeat_ngram_size": ("4", 4),
    "repetition_penalty_range": ("512", 512), "penalty_alpha": ("0.6", 0.6),
    "guidance_scale": ("1.5", 1.5), "negative_prompt": ("Nothing\nsad", "Nothing\nsad"),
    "mirostat_mode": ("2", 2), "mirostat_tau": ("8", 8.0), "mirostat_eta": ("0.2", 0.2),
    "do_sample": ("false", False), "temperature_last": ("true", True),
    "sampler_priority": ("top_k\ntemperature", ("top_k", "temperature")),
    "max_new_tokens": ("300", 300), "auto_max_new_tokens": ("true", True),
    "min_length": ("20", 20), "prompt_lookup_num_tokens": ("3", 3),
    "max_tokens_second": ("10", 10), "ban_eos_token": ("true", True),
    "custom_token_bans": ("5, 7", (5, 7)), "logit_bias": ("5: -2\n7: 1.5", {5: -2.0, 7: 1.5}),
    "add_bos_token": ("false", False), "skip_special_tokens": ("false", False),
    "static_cache": ("true", True), "truncation_length": ("4096", 4096), "seed": ("7", 7),
    "custom_stopping_strings": (r'"\nYou:", "###"', ("\nYou:", "###")), "num_beams": ("3", 3),
    "length_penalty": ("-1", -1.0), "early_stopping": ("true", True),
}  # fmt: skip


class Knowing(Scripted):
    """A model that honours everything, and whose tokens are the words it knows."""

    words = ("Once", " upon", " a time", " upon")

    def __init__(self, *scripts: str, samplers: Any = ALL, **more: Any) -> None:
        super().__init__(*scripts, samplers=samplers, **more)

    async def call(self, name: str, **data: Any) -> Any:
        if name == "tokenize":
            return [self.words.index(data["text"])] if data["text"] in self.words else [8, 9]
        if name == "detokenize":
            return "".join(dict(enumerate(self.words)).get(n, "?") for n in data["token_ids"])
        raise LookupError(name)


@pytest.fixture(autouse=True)
def drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every seed that nobody gave is the same, so that tests can tell it from a chosen one."""
    monkeypatch.setattr(seeds.secrets, "randbelow", lambda most: DRAWN)


@pytest.fixture
async def model() -> Knowing:
    return Knowing("Hi.")


@pytest.fixture
async def app(model: Knowing, tmp_path: Path) -> AsyncIterator[App]:
    async with running("parameters", model=model, data=tmp_path) as app:
        yield app


async def asked(app: App, model: Scripted, **fields: Any) -> Sampling:
    """What the model is asked when a page says something, but for a seed that was drawn."""
    await app.say(client="page", **fields)
    return undrawn(model.asked[-1].sampling)


def undrawn(sampling: Sampling) -> Sampling:
    return structs.replace(sampling, seed=UNSET) if sampling.seed == DRAWN else sampling


def anew(page: Page) -> None:
    """Forget what the page was sent, also what is on its way."""
    assert page.html is not None
    page.html = ""


def forms(html: str) -> str:
    """The tab's rows; the pop-up may come after them."""
    return html.rpartition('id="parameters-groups"')[2].partition('id="status-parameters')[0]


# --- one parameter at a time ---------------------------------------------------------------


def test_every_parameter_is_typed_here():
    assert TYPED.keys() == KNOWN.keys() == set(Sampling.__struct_fields__) - {"extra"}


def test_every_parameter_is_declared_whole():
    for name, known in KNOWN.items():
        assert known.help.endswith("."), name
        assert all(master in KNOWN for master in known.tunes.split()), name
        if known.neutral not in (None, ""):
            assert texts.read(name, known.neutral) == known.neutral, name


def test_the_page_of_parameters_is_current():
    said = page_of_parameters.FILE.read_text("utf-8")
    assert said == page_of_parameters.text(), "run python -m tools.parameters"


async def test_what_is_typed_reaches_the_model_and_goes_back(app: App, model: Knowing):
    page = await app.open("/parameters")
    for name, (typed, value) in TYPED.items():
        anew(page)
        await page.act("parameters.set", name=name, value=typed)
        await page.until(f'id="parameters-{name}-reset"')
        asked_for = UNSET if name == "max_tokens_second" else value  # it is done without the model
        assert getattr(await asked(app, model), name) == asked_for
        await page.act("parameters.reset", name=name)
        expected = 2048 if name == "max_new_tokens" else UNSET
        assert getattr(await asked(app, model), name) == expected
        assert f'id="parameters-{name}-reset"' not in forms(page.html)


async def test_what_a_turn_says_stays(app: App, model: Knowing):
    page = await app.open("/parameters")
    await page.act("parameters.set", name="temperature", value="0.7")
    await page.act("parameters.set", name="top_k", value="7")
    sampling = await asked(app, model, sampling=Sampling(temperature=0.1, seed=3))
    assert (sampling.temperature, sampling.top_k, sampling.seed) == (0.1, 7, 3)


async def test_a_program_says_its_own(app: App, model: Knowing):
    page = await app.open("/parameters")
    await page.act("parameters.set", name="temperature", value="0.7")
    await page.act("parameters.constrain", by="grammar", grammar='root ::= "a"', schema="")
    await app.say()
    assert undrawn(model.asked[-1].sampling) == Sampling()
    assert not model.asked[-1].grammar


@pytest.mark.parametrize(
    ("name", "typed", "why"),
    [
        ("temperature", "9", "must be a number from 0 to 5"),
        ("top_k", "many", "must be a whole number"),
        ("seed", "1.5", "must be a whole number"),
        ("sampler_priority", "top_k, magic", "no sampler called magic"),
        ("custom_stopping_strings", '"open', "cannot be told apart"),
        ("dry_sequence_breakers", "[1, 2]", "must be a text in quotes"),
    ],
)
async def test_what_cannot_be_is_told_beside_its_field(
    app: App, model: Knowing, name: str, typed: str, why: str
):
    page, other = await app.open("/parameters"), await app.open("/parameters")
    anew(page)
    anew(other)
    await page.act("parameters.set", name=name, value=typed)
    assert why in await page.until(f'id="parameters-{name}-error" role="alert">[^<]*')
    assert getattr(await asked(app, model), name) is UNSET
    assert f"{name}-error" not in other.html


async def test_two_pages_show_the_same_and_a_restart_forgets_nothing(tmp_path: Path):
    async with running("parameters", model=Knowing("Hi."), data=tmp_path) as app:
        page, other = await app.open("/parameters"), await app.open("/parameters")
        anew(other)
        await page.act("parameters.set", name="top_k", value="41")
        await other.until('name="value" value="41"')
        await page.act("parameters.choose", preset="Shortwave")
        await page.act("parameters.set", name="logit_bias", value="3: 1")
    model = Knowing("Hi.")
    async with running("parameters", model=model, data=tmp_path) as app:
        sampling = await asked(app, model)
        assert (sampling.temperature, sampling.top_k, sampling.logit_bias) == (1.53, 33, {3: 1.0})
        page = await app.open("/parameters")
        assert "Restore preset" not in page.html, "nothing differs from it"


async def test_a_damaged_file_costs_the_choices_and_is_kept(tmp_path: Path):
    file = tmp_path / "state" / "parameters" / "parameters.json"
    file.parent.mkdir(parents=True)
    file.write_text('{"sampling": {"temperature": "hot"}}')
    model = Knowing("Hi.")
    async with running("parameters", model=model, data=tmp_path) as app:
        assert (await asked(app, model)).temperature is UNSET
    assert file.with_name("parameters.json.damaged").exists()


async def test_a_choice_that_cannot_be_kept_holds_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    model = Knowing("Hi.")
    async with running("parameters", model=model, data=tmp_path) as app:
        page = await app.open("/parameters")
        monkeypatch.setattr(sys.modules["extensions.parameters.state"], "write", full)
        for value in ("0.1", "0.2", "0.3"):
            await page.act("parameters.set", name="temperature", value=value)
        await page.until("it cannot be kept: No space left on device")
        assert (await asked(app, model)).temperature == 0.3
        assert app.kernel.trouble == {}


# --- what a model cannot do ----------------------------------------------------------------


async def test_what_a_model_cannot_do_is_left_out_told_once_and_shown(tmp_path: Path):
    model = Knowing("Hi.", samplers=("temperature", "max_new_tokens"))
    async with running("parameters", model=model, data=tmp_path) as app:
        page = await app.open("/parameters")
        await page.act("parameters.set", name="top_k", value="40")
        await page.act("parameters.set", name="xtc_threshold", value="0.2")
        anew(page)
        assert await asked(app, model) == Sampling(max_new_tokens=2048)
        told = "scripted in scripted cannot do this: top_k. The reply is made without."
        assert told in page.html
        anew(page)
        await asked(app, model)
        assert "cannot do this" not in page.html
        await page.act("parameters.set", name="temperature", value="0.5")
        await asked(app, model)
        assert told in page.html, "something else is chosen: it is said again"
        ways = {"top_k": "Another engine can top_k."}
        model.info = structs.replace(model.info, instead=ways)
        await page.act("parameters.set", name="temperature", value="0.6")
        await asked(app, model)
        assert f"{told} Another engine can top_k." in page.html
        again = await app.open("/parameters")
        assert 'parameters-lacking" id="parameters-top_k-row"' in again.html
        assert 'title="Not with this model: ' not in again.html
        assert "Not with this model: " in again.html  # in the pop-up


@pytest.mark.parametrize("asks", ["a page", "a program"])
async def test_words_come_no_faster_than_somebody_reads(tmp_path: Path, asks: str):
    model = Knowing(" ".join(["word"] * 6), samplers=("max_new_tokens",))
    async with running("parameters", model=model, data=tmp_path) as app:
        page, rate = await app.open("/parameters"), 50
        sampling = Sampling(max_tokens_second=rate) if asks == "a program" else Sampling()
        if asks == "a page":
            await page.act("parameters.set", name="max_tokens_second", value=str(rate))
        loop = asyncio.get_running_loop()
        begun, times = loop.time(), list[float]()
        turn = Turn(prompt="Go", sampling=sampling)
        reply = app.run(structs.replace(turn, client="page") if asks == "a page" else turn)
        async for _ in reply:
            times.append(loop.time() - begun)
        assert len(times) > 4, reply.finish
        assert times[-1] - times[0] >= (len(times) - 1) / rate * 0.99
        assert reply.finish
        assert reply.finish.reason == "stop"
        assert "cannot do this" not in page.html
        [request] = model.asked
        assert request.sampling.max_tokens_second is UNSET


async def test_an_engine_is_never_asked_for_what_a_program_did_not_leave_out(tmp_path: Path):
    """What somebody else asked for is not ours to leave out: the engine refuses it by name."""
    model = Knowing("Hi.", samplers=("temperature", "max_new_tokens"))
    async with running("parameters", model=model, data=tmp_path) as app:
        assert (await asked(app, model, sampling=Sampling(top_k=3))).top_k == 3


async def test_only_what_a_loader_can_do_is_shown(tmp_path: Path):
    model = Knowing("Hi.", samplers=("temperature", "top_k", "max_new_tokens"))
    async with running("parameters", model=model, data=tmp_path) as app:
        page = await app.open("/parameters")
        assert "parameters-tfs-row" in page.html
        await page.act("parameters.set", name="min_p", value="0.1")
        anew(page)
        await page.act("parameters.show", loader="now")
        assert "parameters-top_k-row" in page.html
        assert "parameters-tfs-row" not in page.html
        assert "parameters-min_p-row" in page.html, "what was changed is never hidden"
        other = await app.open("/parameters")
        assert "parameters-tfs-row" in other.html


async def test_the_models_own_stand_where_nothing_is_said(tmp_path: Path):
    model = Knowing("Hi.")
    model.info = structs.replace(model.info, defaults=Sampling(temperature=0.6, top_p=0.95))
    async with running("parameters", model=model, data=tmp_path) as app:
        page = await app.open("/parameters")
        assert 'value="" placeholder="0.95"' in page.html
        assert await asked(app, model) == Sampling(max_new_tokens=2048)
        await page.act("parameters.neutralise")
        sampling = await asked(app, model)
        assert (sampling.temperature, sampling.top_p) == (1.0, 1.0)
        assert sampling.sampler_priority == texts.ORDER
        await page.act("parameters.choose", preset="min_p")
        sampling = await asked(app, model)
        assert (sampling.temperature, sampling.top_p, sampling.min_p) == (1.0, 1.0, 0.05)
        bar = (await app.fetch("/parameters")).text.partition('id="parameters-preset"')[2]
        first = bar.partition("</option>")[0]
        assert "The model's own" in first.replace("&#39;", "'"), "it is what choosing it brings"
        await page.act("parameters.choose", preset="")
        assert await asked(app, model) == Sampling(max_new_tokens=2048)


# --- order ---------------------------------------------------------------------------------


async def test_the_order_is_moved_by_drag_and_by_keys(app: App, model: Knowing):
    page = await app.open("/parameters")
    await page.act("parameters.move", id="min_p", to=0)
    await page.act("parameters.move", id="temperature", to=99)
    order = (await asked(app, model)).sampler_priority
    assert order == (
        "min_p",
        *(n for n in ORDER if n not in ("min_p", "temperature")),
        "temperature",
    )
    anew(page)
    await page.act("parameters.move", id="magic", to=0)
    assert "no sampler called magic" in page.html


# --- presets -------------------------------------------------------------------------------

OLD = """\
temperature: 0.7
top_p: 0.9
additive_repetition_penalty: 0.3
repetition_penalty: 1.15
num_beams: 1
early_stopping: false
do_sample: true
dry_sequence_breakers: '"\\n", ":", "\\"", "*"'
sampler_priority: |-
  temperature
  top_p
sampling_wish: better
top_k: lots
"""


def test_a_preset_of_every_age_is_read():
    found = presets.parse("old", OLD)
    assert found.sampling == Sampling(
        temperature=0.7, top_p=0.9, presence_penalty=0.3, repetition_penalty=1.15, num_beams=1,
        early_stopping=False, do_sample=True, dry_sequence_breakers=("\n", ":", '"', "*"),
        sampler_priority=("temperature", "top_p"),
    )  # fmt: skip
    assert found.others == {"sampling_wish": "better", "top_k": "lots"}
    assert "no sampling_wish; it stays in the file" in " ".join(found.problems)
    assert "Top k must be" in found.problems[0]
    json_form = presets.parse(
        "json", 'dry_sequence_breakers: ["\\n", "x"]\nsampler_priority: [dry]'
    )
    assert json_form.sampling.dry_sequence_breakers == ("\n", "x")
    assert json_form.sampling.sampler_priority == ("dry",)
    assert presets.parse("empty", "").sampling == Sampling()


@pytest.mark.parametrize(
    "text", ["- a\n- b", "a: [" + "[" * 500, "{", "a: !!python/object:os.x {}"]
)
def test_what_is_no_preset_is_refused(text: str):
    with pytest.raises(Refused, match=r"The preset x "):
        presets.parse("x", text)


@pytest.mark.parametrize(
    "line", ["sampler_priority: 5", "sampler_priority: true", "dry_sequence_breakers: '[{[]: 1}]'"]
)
def test_a_value_that_cannot_be_costs_a_preset_nothing_else(line: str):
    preset = presets.parse("Mine", f"temperature: 0.5\n{line}\n")
    assert preset.sampling == Sampling(temperature=0.5)
    assert len(preset.problems) == 1


@pytest.mark.parametrize("file", sorted((Path(__file__).parent / "presets").glob("*.yaml")))
def test_our_presets_are_good_and_hold_what_differs(file: Path):
    found = presets.parse(file.stem, file.read_text("utf-8"))
    assert not found.problems
    assert file.stem == "Null preset" or presets.said(found.sampling)
    assert presets.parse("again", presets.dump(presets.said(found.sampling))).sampling == Sampling(
        **{k: v for k, v in presets.said(found.sampling).items()} or {"temperature": 1.0}
    )


async def test_a_preset_is_saved_restored_deleted_and_brought_back(
    app: App, model: Knowing, tmp_path: Path
):
    page = await app.open("/parameters")
    await page.act("parameters.choose", preset="Yara")
    await page.act("parameters.set", name="top_k", value="12")
    await page.act("parameters.set", name="max_new_tokens", value="77")
    await page.act("parameters.save", name=" Mine ")
    file = tmp_path / "presets" / "Mine.yaml"
    assert file.read_text("utf-8") == (
        "temperature: 0.82\ntop_p: 0.21\ntop_k: 12\nrepetition_penalty: 1.19\n"
    )
    await page.act("parameters.set", name="top_k", value="99")
    await page.until("Restore preset")
    await page.act("parameters.choose", preset="Mine")
    sampling = await asked(app, model)
    assert (sampling.top_k, sampling.max_new_tokens) == (12, 77)
    anew(page)
    await page.act("parameters.delete", what="preset", name="Mine")
    assert not file.exists()
    assert "Mine (deleted)" in page.html
    undo = await page.until(r"hx-vals=\'(\{[^\']*undelete[^\']*\})")
    vals = json.loads(undo.partition("'")[2])
    await page.act(vals.pop("action"), **vals)
    assert file.exists()
    assert (await asked(app, model)).top_k == 12, "what was chosen stays while its file is away"


async def test_a_preset_saved_over_another_can_be_taken_back(app: App, tmp_path: Path):
    page, file = await app.open("/parameters"), tmp_path / "presets" / "Mine.yaml"

    async def save(top_k: str) -> str:
        anew(page)
        await page.act("parameters.set", name="top_k", value=top_k)
        await page.act("parameters.save", name="Mine")
        return await page.until("The preset Mine is saved.*")

    assert "Undo" not in await save("1")
    undo = re.search(r"hx-vals='(\{[^']*\})'[^>]*>Undo", await save("2"))
    assert "Undo" not in await save("2"), "nothing else stood in it"
    assert "top_k: 2" in file.read_text("utf-8")
    assert undo
    vals = json.loads(undo[1])
    anew(page)
    await page.act(vals.pop("action"), **vals)
    assert "Restore preset" in await page.until('id="parameters-bar".*'), "the values are others"
    assert "top_k: 1" in file.read_text("utf-8")
    [other] = (tmp_path / "trash" / "presets").glob("*/Mine.yaml")
    assert "top_k: 2" in other.read_text("utf-8"), "neither is lost"


async def test_ours_goes_out_of_sight_and_comes_back(app: App, tmp_path: Path):
    page = await app.open("/parameters")
    await page.act("parameters.choose", preset="Yara")
    anew(page)
    await page.act("parameters.delete", what="preset", name="Yara")
    await page.until("The preset Yara was deleted")
    assert "Yara (deleted)" in await page.until('id="parameters-bar".*')
    assert "comes with Spindle" in await page.until('id="parameters-trash".*')
    await page.act("parameters.choose", preset="")
    await page.until('id="parameters-bar"(?!.*Yara)')
    await page.act("parameters.empty")
    anew(page)
    await page.act("parameters.undelete", what="preset", number="=Yara")
    await page.until('<option value="Yara"')
    await page.act("parameters.undelete", what="preset", number="=Yara")
    await page.until("not in the trash any more")
    await page.act("parameters.undelete", what="preset", number="=../../x")
    assert (Path(__file__).parent / "presets" / "Yara.yaml").exists()


async def test_the_trash_lists_restores_and_deletes_for_good(app: App, tmp_path: Path):
    page = await app.open("/parameters")
    for number in "12":
        await page.act("parameters.set", name="top_k", value=number)
        await page.act("parameters.save", name="Mine")
        await page.act("parameters.delete", what="preset", name="Mine")
    await page.act("parameters.bring", what="grammar", name="yes", text='root ::= "yes"')
    anew(page)
    await page.act("parameters.delete", what="grammar", name="yes")
    shown = await page.until('id="parameters-trash".*grammars \\(3\\).*')
    assert shown.index('"number": "2"') < shown.index('"number": "1"'), "newest first"
    await page.act("parameters.undelete", what="preset", number="1")
    await page.until("grammars \\(2\\)")
    assert "top_k: 1" in (tmp_path / "presets" / "Mine.yaml").read_text("utf-8")
    await page.act("parameters.empty")
    await page.until("grammars \\(0\\)")
    for kind in ("presets", "grammars"):
        assert not [*(tmp_path / "trash" / kind).iterdir()]
    assert (tmp_path / "presets" / "Mine.yaml").exists()


async def test_a_model_whose_preset_is_gone_is_met_and_that_is_told(tmp_path: Path):
    model = Knowing("Hi.")
    async with running("parameters", model=model, data=tmp_path) as app:
        page = await app.open("/parameters")
        await page.act("parameters.save", name="Mine")
        await page.act("parameters.prefer", preset="Mine", model=False)
        await page.act("parameters.delete", what="preset", name="Mine")
        await page.act("parameters.choose", preset="")
        await page.act("parameters.empty")
        model.info = structs.replace(model.info, name="other")
        await app.kernel.slot().reload()
        await page.until("There is no preset Mine any more")
        await page.until("what other can do")


async def test_a_name_cannot_lead_out(app: App, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    page = await app.open("/parameters")
    for name in ("../x", "a/b", ".hidden", "CON", "x\0y", ""):
        anew(page)
        await page.act("parameters.save", name=name)
        await page.act("parameters.bring", what="grammar", name=name, text='root ::= "a"')
        await page.act("parameters.choose", preset=name or "../../settings")
        await page.act("parameters.delete", what="grammar", name=name)
        assert page.html.count("toast error") == 4, name
    assert "Traceback" not in caplog.text
    await page.act("parameters.undelete", what="preset", number="../..")
    assert not [folder for folder in ("presets", "grammars") if (tmp_path / folder).exists()]


async def test_what_a_file_says_beside_stays_in_it(app: App, tmp_path: Path):
    (tmp_path / "presets").mkdir()
    file = tmp_path / "presets" / "old.yml"
    file.write_text(OLD)
    page = await app.open("/parameters")
    await page.act("parameters.choose", preset="old")
    await page.until("it stays in the file")
    await page.act("parameters.set", name="temperature", value="0.8")
    await page.act("parameters.save", name="old")
    said = file.read_text("utf-8")
    assert "sampling_wish: better" in said
    assert "temperature: 0.8" in said
    assert "top_k" not in said
    assert not file.with_suffix(".yaml").exists()


async def test_a_preset_saved_again_says_all_that_its_file_said(
    app: App, model: Knowing, tmp_path: Path
):
    (tmp_path / "presets").mkdir()
    file = tmp_path / "presets" / "Mine.yaml"
    file.write_text(
        "temperature: 0.7\nmax_new_tokens: 77\nban_eos_token: true\nseed: 5\n"
        "custom_token_bans: '5'\ncustom_stopping_strings: '\"###\"'\nlogit_bias: {7: 1.5}\n"
        "truncation_length: 2048\n"
    )
    page = await app.open("/parameters")
    await page.act("parameters.choose", preset="Mine")
    await page.act("parameters.set", name="top_k", value="12")
    await page.act("parameters.set", name="max_new_tokens", value="99")
    await page.act("parameters.set", name="ban_eos_token", value="")
    await page.act("parameters.set", name="custom_token_bans", value="5, 7")
    await page.act("parameters.set", name="truncation_length", value="")
    await page.act("parameters.set", name="min_length", value="4")
    await page.act("parameters.save", name="Mine")
    assert "truncation_length" not in file.read_text("utf-8"), "nobody says one any more"
    saved = presets.parse("Mine", file.read_text("utf-8"))
    assert not saved.problems
    assert saved.sampling == Sampling(
        temperature=0.7, top_k=12, max_new_tokens=99, ban_eos_token=False, seed=5,
        custom_token_bans=(5, 7), custom_stopping_strings=("###",), logit_bias={7: 1.5},
    )  # fmt: skip
    await page.act("parameters.set", name="custom_token_bans", value="5\n upon")
    await page.act("parameters.save", name="Mine")
    saved = presets.parse("Mine", file.read_text("utf-8"))
    assert saved.sampling.custom_token_bans == (5, 7), "a file has no texts"
    assert (await asked(app, model)).custom_token_bans == (5, 1), "and they stay"
    for field in ("custom_token_bans", "custom_stopping_strings"):
        await page.act("parameters.set", name=field, value="")
    await page.act("parameters.save", name="Mine")
    await page.act("parameters.choose", preset="Mine")
    sampling = await asked(app, model)
    assert not sampling.custom_token_bans
    assert not sampling.custom_stopping_strings


async def test_a_preset_comes_in_and_goes_out_as_it_is(app: App, tmp_path: Path):
    page = await app.open("/parameters")
    await page.act("parameters.bring", what="preset", name="old", text=OLD)
    assert (tmp_path / "presets" / "old.yaml").read_text("utf-8") == OLD
    answer = await app.fetch("/ext/parameters/preset/old.yaml")
    assert answer.body.decode() == OLD
    assert "attachment" in answer.headers["content-disposition"]
    await page.act("parameters.bring", what="preset", name="old", text="temperature: 1")
    await page.until("There is a preset old already")
    await page.act("parameters.bring", what="preset", name="none", text="- a")
    await page.until("is no list of parameters")
    for path in (
        "preset/none.yaml",
        "preset/..%2F..%2Fsettings.yaml",
        "state/x.yaml",
        "preset/old",
    ):
        assert (await app.fetch(f"/ext/parameters/{path}")).status in (400, 404), path
    assert (await app.fetch("/ext/parameters/preset/old.yaml", who="nobody")).status == 401


def test_what_is_not_neutral_is_all_that_differs():
    assert presets.said(Sampling(temperature=1.0, top_k=0)) == {}
    said = presets.said(Sampling(temperature=0.5, do_sample=True, seed=3, top_p=0.9))
    assert said == {"temperature": 0.5, "top_p": 0.9}
    assert not set(presets.HELD) & {"seed", "max_new_tokens", "negative_prompt", "ban_eos_token"}


ITEMS = {
    "top_p": {0.5, 0.8, 0.9, 0.95, 0.99}, "min_p": {0.5, 0.2, 0.1, 0.05, 0.01},
    "top_k": {3, 5, 10, 20, 30, 40}, "typical_p": {0.2, 0.575, 0.95},
    "tfs": {0.5, 0.8, 0.9, 0.95, 0.99}, "top_a": {0.5, 0.2, 0.1, 0.05, 0.01},
    "epsilon_cutoff": {1, 3, 5, 7, 9}, "eta_cutoff": {3, 6, 9, 12, 15, 18},
    "temperature": {0.1, 0.5, 0.7, 0.8, 1.0, 1.2, 1.5, 2.0, 5.0},
    "dynatemp_low": {0.1, 0.5, 0.8, 1.0}, "dynatemp_high": {1.0, 1.5, 2.0, 5.0},
    "dynamic_temperature": {True}, "smoothing_factor": {0.2, 0.3, 0.6, 1.2},
    "repetition_penalty": {1.0, 1.05, 1.1, 1.15, 1.2, 1.25},
    "presence_penalty": {0.0, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 2.0},
    "frequency_penalty": {0.0, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 2.0},
    "temperature_last": {False, True},
}  # fmt: skip
KINDS = (
    {"top_p", "min_p", "top_k", "typical_p", "tfs", "top_a", "epsilon_cutoff", "eta_cutoff"},
    {"temperature", "dynamic_temperature", "smoothing_factor"},
    {"repetition_penalty", "presence_penalty", "frequency_penalty"},
)


def test_a_random_preset_has_one_of_each_kind_and_only_what_is_supported():
    random, seen = Random(1), dict[str, set[Any]]()
    for _ in range(3000):
        thrown = dice.thrown(tuple(KNOWN), random)
        found = {k: v for k, v in structs.asdict(thrown).items() if v is not UNSET}
        for name, value in found.items():
            seen.setdefault(name, set()).add(value)
        for kind in KINDS:
            assert len(kind & found.keys()) == 1
        if "dynatemp_low" in found:
            assert found["dynatemp_low"] < found["dynatemp_high"]
    assert seen == ITEMS
    few = ("top_k", "tfs", "presence_penalty", "dynatemp_low")
    for _ in range(200):
        thrown = dice.thrown(few, random)
        found = {k for k, v in structs.asdict(thrown).items() if v is not UNSET}
        assert found <= {"top_k", "tfs", "presence_penalty"}
        assert len(found) == 2


async def test_a_random_preset_is_neutral_beside(tmp_path: Path):
    model = Knowing("Hi.", samplers=("temperature", "top_k", "max_new_tokens", "top_p"))
    model.info = structs.replace(model.info, defaults=Sampling(top_p=0.5, top_k=9))
    async with running("parameters", model=model, data=tmp_path) as app:
        page = await app.open("/parameters")
        await page.act("parameters.choose", preset="Yara")
        await page.act("parameters.roll")
        sampling = await asked(app, model)
        assert sampling.temperature in ITEMS["temperature"]
        assert (sampling.top_k in ITEMS["top_k"]) != (sampling.top_p in ITEMS["top_p"])
        assert sampling.top_k == 0 or sampling.top_p == 1.0


async def test_a_preset_comes_with_its_model(tmp_path: Path):
    model = Knowing("Hi.")
    async with running("parameters", model=model, data=tmp_path) as app:
        page = await app.open("/parameters")
        await page.act("parameters.prefer", preset="Yara")
        await page.act("parameters.prefer", preset="Shortwave", model=False)
        await page.act("parameters.set", name="top_k", value="3")
        model.info = structs.replace(model.info, name="other")
        await app.kernel.slot().reload()
        await page.until("The preset Shortwave came with other")
        assert (await asked(app, model)).temperature == 1.53
        await page.act("parameters.set", name="temperature", value="0.4")
        await app.kernel.slot().reload()
        assert (await asked(app, model)).temperature == 0.4, "the same model again"
        await page.act("parameters.set", name="typical_p", value="9")
        await page.until('id="parameters-typical_p"[^>]*aria-invalid="true"')
        anew(page)
        model.info = structs.replace(model.info, name="scripted")
        await app.kernel.slot().reload()
        await page.until("The preset Yara came with scripted")

        def right() -> bool:  # Other values stand there; what was drawn before may come first.
            page.html += "".join(page.client.outbox.take())
            shown = page.html.rpartition('id="parameters-typical_p"')[2]
            return bool(shown) and 'aria-invalid="true"' not in shown[:600]

        await app.until(right)


async def test_who_writes_at_once_has_the_preset_of_the_model_that_just_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    model, reading, go_on = Knowing("Hi."), asyncio.Event(), asyncio.Event()

    async def slowly(name: str) -> presets.Preset:
        reading.set()
        await go_on.wait()
        return await read(name)

    async with running("parameters", model=model, data=tmp_path) as app:
        page = await app.open("/parameters")
        await page.act("parameters.prefer", preset="Shortwave", model=False)
        choices: Any = app.kernel.registry.values(PARAMETERS)[0]._choices
        read = choices.read
        monkeypatch.setattr(choices, "read", slowly)
        model.info = structs.replace(model.info, name="other")
        await app.kernel.slot().reload()
        await reading.wait()
        reply = asyncio.create_task(asked(app, model))
        for _ in range(100):
            await asyncio.sleep(0)
        assert not reply.done()
        go_on.set()
        assert (await reply).temperature == 1.53
        assert page.html is not None
        assert page.html.count("The preset Shortwave came with other") == 1


def test_a_shelf_keeps_what_is_deleted_apart(tmp_path: Path):
    shelf = Shelf("thing", tmp_path / "ours", tmp_path / "own", tmp_path / "trash", (".yaml",))
    numbers: list[str] = []
    for text in ("one", "two"):
        shelf.save("a~1", text)
        numbers.append(shelf.delete("a~1"))
    assert shelf.names() == []
    assert shelf.undo(numbers[0]) == "a~1"
    assert shelf.text("a~1") == "one"
    with pytest.raises(Refused, match="another a~1 by now"):
        shelf.undo(numbers[1])
    with pytest.raises(Refused, match="not in the trash"):
        shelf.undo(numbers[0])


@pytest.mark.skipif(not MEMORY.is_dir(), reason="needs a folder of another disk: /dev/shm")
def test_files_on_another_disk_are_deleted_and_brought_back(tmp_path: Path):
    with TemporaryDirectory(dir=MEMORY) as elsewhere:
        (tmp_path / "own").symlink_to(elsewhere)
        shelf = Shelf("thing", tmp_path / "ours", tmp_path / "own", tmp_path / "trash", (".yaml",))
        shelf.save("Mine", "one")
        number = shelf.delete("Mine")
        assert (shelf.names(), [each.name for each in shelf.trash()]) == ([], ["Mine"])
        assert shelf.undo(number) == "Mine"
        assert shelf.text("Mine") == "one"
        assert [file.name for file in Path(elsewhere).iterdir()] == ["Mine.yaml"]
        assert shelf.trash() == []


def test_a_link_to_a_file_elsewhere_says_what_it_is(tmp_path: Path):
    (tmp_path / "elsewhere.yaml").write_text("temperature: 1")
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "Far.yaml").symlink_to(tmp_path / "elsewhere.yaml")
    shelf = Shelf("thing", tmp_path / "ours", tmp_path / "own", tmp_path / "trash", (".yaml",))
    for touch in (shelf.text, shelf.delete):
        with pytest.raises(Refused, match=r"Far\.yaml is a link to another folder"):
            touch("Far")


async def test_names_that_differ_by_capitals_are_one(app: App):
    page, folder = await app.open("/parameters"), app.kernel.data / "presets"
    for name in ("Mine", "mine", "yara"):
        await page.act("parameters.save", name=name)
        await page.until(f"The preset {'Yara' if name == 'yara' else 'Mine'} is saved")
    assert sorted(file.name for file in folder.iterdir()) == ["Mine.yaml", "Yara.yaml"]
    await page.act("parameters.bring", what="preset", name="MINE", text="temperature: 1")
    await page.until("There is a preset Mine already")
    await page.act("parameters.keep", name="Yes", grammar='root ::= "a"')
    await page.act("parameters.keep", name="yes", grammar='root ::= "b"')
    await page.until("The grammar Yes is saved.*The grammar Yes is saved")
    shelf = Shelf("thing", folder, folder, app.kernel.data / "waste", (".yaml",))
    number = shelf.delete("Mine")
    shelf.save("mine", "else")
    with pytest.raises(Refused, match="another mine by now"):
        shelf.undo(number)


# --- bans and biases -----------------------------------------------------------------------


async def test_texts_become_tokens_of_the_model_and_are_shown(app: App, model: Knowing):
    page = await app.open("/parameters")
    typed = '" upon"\n2\n"Never heard"\n"open'
    await page.act("parameters.set", name="custom_token_bans", value=typed)
    shown = await page.until('id="parameters-custom_token_bans-pieces" hx-swap-oob.*')
    assert "<code>1</code>" in shown
    assert "·upon" in shown
    assert "It is 2 tokens. Write those that are meant." in shown
    assert "The quotation marks do not fit together." in shown
    assert (await asked(app, model)).custom_token_bans == (1, 2)
    await page.act("parameters.set", name="logit_bias", value='" upon": -2\n3: 1.5\nOnce\n2: 1e9')
    assert (await asked(app, model)).logit_bias == {1: -2.0, 3: 1.5}
    assert "It needs a value from -100 to 100" in await page.until("logit_bias-pieces.*It needs.*")


async def test_tokens_of_an_older_list_come_too_late(
    app: App, model: Knowing, monkeypatch: pytest.MonkeyPatch
):
    page, called, gate = await app.open("/parameters"), asyncio.Event(), asyncio.Event()
    real: Any = model.call

    async def slow(name: str, **said: Any) -> Any:
        if "upon" in str(said):
            called.set()
            await gate.wait()
        return await real(name, **said)

    monkeypatch.setattr(model, "call", slow)
    typing = page.act("parameters.set", name="custom_token_bans", value='" upon"\n2')
    first = asyncio.create_task(typing)
    await called.wait()
    await page.act("parameters.set", name="custom_token_bans", value="3")
    await page.until('id="parameters-custom_token_bans-pieces" hx-swap-oob[^§]*<code>3</code>')
    anew(page)
    await first
    reading = [t for t in asyncio.all_tasks() if t.get_name().startswith("parameters:pieces")]
    assert reading
    gate.set()
    await asyncio.gather(*reading)
    assert "upon" not in page.html


async def test_a_list_of_any_lines_costs_no_more_than_itself(app: App, model: Knowing):
    page = await app.open("/parameters")
    await page.act("parameters.set", name="temperature", value="0.5")
    numbers = f"²\n٣\n{2**31}\n{'9' * 5000}"
    await page.act("parameters.set", name="custom_token_bans", value=numbers)
    await page.until("²: It is 2 tokens.*tokens are 0 to 2,147,483,647.")
    sampling = await asked(app, model)
    assert (sampling.temperature, sampling.custom_token_bans) == (0.5, (3,))
    await page.act("parameters.set", name="logit_bias", value="1: 1\n" * 1001)
    await page.until("There are 1,001 lines, and 1,000 are the most. Shorten it.")
    assert (await asked(app, model)).logit_bias is UNSET
    assert app.kernel.trouble == {}


async def test_a_reply_is_made_without_a_list_that_takes_long(
    app: App, model: Knowing, monkeypatch: pytest.MonkeyPatch
):
    gate, real, names = asyncio.Event(), model.call, list[str]()

    async def slow(name: str, **said: Any) -> Any:
        names.append(name)
        await gate.wait()
        return await real(name, **said)

    monkeypatch.setattr(model, "call", slow)
    monkeypatch.setattr(sys.modules["extensions.parameters.tokens"], "PATIENCE", 0.01)
    [mine] = app.kernel.registry.values(PARAMETERS)
    await mine.set("custom_token_bans", "\n".join(map(str, range(9))))
    assert (await asked(app, model)).custom_token_bans == tuple(range(9))
    assert names == [], "numbers are tokens, and nobody looks at what they say"
    await mine.set("custom_token_bans", 'Once\n" upon"')
    page = app.page()
    assert (await asked(app, model)).custom_token_bans is UNSET
    await page.until("custom_token_bans are still being looked up with scripted")
    reading = [t for t in asyncio.all_tasks() if t.get_name().startswith("parameters:read")]
    gate.set()
    await asyncio.gather(*reading)
    assert (await asked(app, model)).custom_token_bans == (0, 1)
    assert app.kernel.trouble == {}


async def test_a_line_at_which_the_model_fails_again_and_again_costs_the_others_nothing(
    app: App, model: Knowing, monkeypatch: pytest.MonkeyPatch
):
    """Though the model takes longer each time than a reply waits."""
    tokens = sys.modules["extensions.parameters.tokens"]
    real, slow, texts = model.call, asyncio.Event(), list[str]()

    async def call(name: str, **said: Any) -> Any:
        texts.append(said["text"])
        if said["text"] == "never":
            await slow.wait()
            raise OSError("on purpose")
        return await real(name, **said)

    monkeypatch.setattr(model, "call", call)
    monkeypatch.setattr(tokens, "PATIENCE", 0.01)
    [mine] = app.kernel.registry.values(PARAMETERS)
    await mine.set("custom_token_bans", "2\nOnce\nnever")
    assert (await asked(app, model)).custom_token_bans is UNSET
    slow.set()
    monkeypatch.setattr(tokens, "PATIENCE", 20)
    assert (await asked(app, model)).custom_token_bans == (2, 0)
    slow.clear()
    monkeypatch.setattr(tokens, "PATIENCE", 0.01)
    for _ in range(2):
        assert (await asked(app, model)).custom_token_bans == (2, 0)
    slow.set()
    assert texts.count("Once") == 1


async def test_a_list_at_which_the_model_failed_once_counts_from_the_next_reply_on(
    app: App, model: Knowing, monkeypatch: pytest.MonkeyPatch
):
    async def fails(name: str, **said: Any) -> Any:
        raise OSError("on purpose")

    [mine] = app.kernel.registry.values(PARAMETERS)
    await mine.set("custom_token_bans", "2\nOnce")
    with monkeypatch.context() as patch:
        patch.setattr(model, "call", fails)
        assert (await asked(app, model)).custom_token_bans == (2,)
    assert (await asked(app, model)).custom_token_bans == (2, 0)


async def test_a_model_that_tells_no_tokens_takes_numbers(tmp_path: Path):
    model = Scripted("Hi.", samplers=ALL)
    async with running("parameters", model=model, data=tmp_path) as app:
        page = await app.open("/parameters")
        await page.act("parameters.set", name="custom_token_bans", value='5\n" upon"')
        assert (await asked(app, model)).custom_token_bans == (5,)
        await page.until("scripted does not tell tokens of texts. Write numbers.")


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        (r'"\n", "Human:"', ["\n", "Human:"]), (r"'\n', 'Human:'", ["\n", "Human:"]),
        (r'["\n", "x"]', ["\n", "x"]), ("### End\nHuman:", ["### End", "Human:"]), ("", []),
        (r'"a\"b"', ['a"b']),
    ],
)  # fmt: skip
def test_texts_in_quotes_in_every_form(typed: str, read: list[str]):
    assert texts.quoted(typed) == read
    assert texts.quoted(texts.written("custom_stopping_strings", read)) == read


# --- grammars ------------------------------------------------------------------------------

GOOD, BAD = 'root ::= "Yes" | "No"', "root ::= yes\nyes ::= ("


@pytest.fixture
async def able() -> Knowing:
    return Knowing("Hi.", capabilities=("text", "grammar"))


async def test_a_grammar_is_checked_used_kept_and_left(able: Knowing, tmp_path: Path):
    async with running("parameters", model=able, data=tmp_path) as app:
        page = await app.open("/parameters")
        await page.act("parameters.constrain", by="grammar", grammar=GOOD, schema="")
        await asked(app, able)
        assert able.asked[-1].grammar == GOOD
        anew(page)
        await page.act("parameters.constrain", by="grammar", grammar=BAD, schema="")
        error = await page.until('id="parameters-gbnf-error" role="alert">[^<]*')
        assert "line 2" in error
        assert "yes ::= (" in page.html, "what was typed stays in the box"
        await asked(app, able)
        assert able.asked[-1].grammar == GOOD, "what was checked goes on"
        file = tmp_path / "grammars" / "mine.gbnf"
        anew(page)
        await page.act("parameters.keep", name="mine", grammar=BAD)
        assert "line 2" in await page.until('id="parameters-gbnf-error" role="alert">[^<]*')
        assert not file.exists()
        other = GOOD + "\r\n# What was just typed"
        await page.act("parameters.keep", name="mine", grammar=other)
        assert file.read_text("utf-8") == other.replace("\r", "") + "\n"
        await asked(app, able)
        assert able.asked[-1].grammar == other.replace("\r", ""), "the one that is used is the file"
        await page.act("parameters.constrain", by="", grammar=GOOD, schema="")
        await asked(app, able)
        assert not able.asked[-1].grammar


async def test_a_schema_is_checked_and_used(able: Knowing, tmp_path: Path):
    async with running("parameters", model=able, data=tmp_path) as app:
        page = await app.open("/parameters")
        schema = '{"type": "object", "properties": {"a": {"type": "integer"}}}'
        await page.act("parameters.constrain", by="schema", grammar="", schema=schema)
        await asked(app, able)
        assert able.asked[-1].grammar == schema
        for wrong, why in (
            ('{"type": ', "cannot be read"), ('root ::= "a"', "begins with a brace"),
            ('{"type": "string", "pattern": "a+"}', "cannot hold"), ("", "It is empty"),
        ):  # fmt: skip
            anew(page)
            await page.act("parameters.constrain", by="schema", grammar="", schema=wrong)
            assert why in await page.until('id="parameters-schema-error" role="alert">[^<]*')
        anew(page)
        await page.act("parameters.constrain", by="grammar", grammar="{}", schema="")
        assert "is no JSON" in await page.until('parameters-gbnf-error" role="alert">[^<]*')


@pytest.mark.parametrize("name", [f.stem for f in (Path(__file__).parent / "grammars").iterdir()])
async def test_our_grammars_are_good(able: Knowing, tmp_path: Path, name: str):
    async with running("parameters", model=able, data=tmp_path) as app:
        page = await app.open("/parameters")
        await page.act("parameters.open", name=name)
        await asked(app, able)
        assert "root" in able.asked[-1].grammar
        assert f'<option value="{name}" selected>' in page.html
        await page.act("parameters.open", name="")
        await asked(app, able)
        assert not able.asked[-1].grammar


async def test_a_model_without_grammars_is_told_of_and_replies_are_made(app: App, model: Knowing):
    page = await app.open("/parameters")
    await page.act("parameters.constrain", by="grammar", grammar=GOOD, schema="")
    anew(page)
    await asked(app, model)
    assert not model.asked[-1].grammar
    await page.until("cannot do this: grammar")
    assert "The loaded model takes no grammar" in (await app.open("/parameters")).html


# --- beside a text box ------------------------------------------------


async def test_the_pop_up_stands_on_every_page(app: App, model: Knowing):
    page = await app.open("/parameters")
    assert 'popover class="pop" id="parameters-pop"' in page.html
    assert 'id="parameters-pop-temperature"' in page.html
    await page.act("parameters.set", name="temperature", value="0.5")
    assert "Temperature 0.5</button>" in page.html


async def test_what_is_wrong_stays_in_the_pop_up_when_another_page_changes_something(app: App):
    mine, other = await app.open("/"), await app.open("/")
    await mine.act("parameters.set", name="temperature", value="x")
    await mine.until('id="parameters-pop-temperature"[^>]*aria-invalid="true"')
    anew(mine)
    anew(other)
    await other.act("parameters.set", name="max_new_tokens", value="77")
    await other.until('value="77"')
    assert 'aria-invalid="true"' not in other.html
    last = 'id="parameters-pop"(?!.*id="parameters-pop")'
    await mine.until(f'{last}.*id="parameters-pop-temperature"[^>]*aria-invalid="true"')
    tab = await app.open("/parameters")  # There, a filter leaves it where it stands.
    await tab.act("parameters.set", name="typical_p", value="9")
    anew(tab)
    await tab.act("parameters.show", loader="now")
    await tab.until('id="parameters-typical_p"[^>]*aria-invalid="true"')
    anew(mine)
    await other.act("parameters.choose", preset="Shortwave")  # Other values stand in all boxes.
    await mine.until('id="parameters-pop-temperature"')
    assert 'aria-invalid="true"' not in mine.html


LOADER = '''"""Adds parameters to those of the scripted loader."""
from typing import Annotated
from kernel.api import SAMPLERS, Meta, Samplers, Struct

class Added(Struct, frozen=True):
    wobble: Annotated[float, Meta(ge=0, le=1, description="How much it wobbles.")] = 0.5
    rough: Annotated[bool, Meta(description="Whether it is rough.")] = False
    banned_strings: Annotated[tuple[str, ...], Meta(description="What never comes.")] = ()

class Elsewhere(Struct, frozen=True):
    far: Annotated[int, Meta(description="For another loader.")] = 0

async def setup(ext):
    ext.add(SAMPLERS, Samplers("scripted", Added))
    ext.add(SAMPLERS, Samplers("another", Elsewhere))
'''


@pytest.fixture
def adding(tmp_path: Path) -> Path:
    folder = tmp_path / "more" / "adding"
    folder.mkdir(parents=True)
    (folder / "extension.toml").write_text(
        'id = "adding"\nname = "Adding"\nversion = "1"\nsummary = "For tests."\napi = 1\n'
    )
    (folder / "__init__.py").write_text(LOADER)
    return folder


async def test_what_a_loader_adds_is_shown_checked_kept_and_sent(adding: Path, model: Knowing):
    async with running("parameters", adding, model=model) as app:
        page = await app.open("/parameters")
        assert 'id="parameters-wobble"' in page.html
        assert 'id="parameters-pop-wobble"' in page.html
        assert "For another loader" not in page.html
        anew(page)
        await page.act("parameters.set", name="wobble", value="7")
        await page.until('id="parameters-wobble-error" role="alert">Wobble must be a number from')
        assert (await asked(app, model)).extra is UNSET
        await page.act("parameters.set", name="wobble", value="0.25")
        await page.act("parameters.set", name="rough", value="true")
        assert (await asked(app, model)).extra == {"wobble": 0.25, "rough": True}
        await page.act("parameters.reset", name="rough")
        assert (await asked(app, model)).extra == {"wobble": 0.25}

        # Another loader is not asked for it, and it is there again afterwards.
        anew(page)
        await app.toggle("adding", on=False)
        await page.until("parameters-groups")
        assert (await asked(app, model)).extra is UNSET
        await page.act("parameters.set", name="wobble", value="0.5")
        await page.until("There is no parameter wobble any more")
        await app.toggle("adding", on=True)
        assert (await asked(app, model)).extra == {"wobble": 0.25}


async def test_what_another_engine_of_the_loader_adds_is_left_out_and_told(
    adding: Path, model: Knowing
):
    """llama.cpp has two, and only one of them goes back for what is banned."""
    async with running("parameters", adding, model=model) as app:
        page = await app.open("/parameters")
        await page.act("parameters.set", name="banned_strings", value="never")
        assert (await asked(app, model)).extra == {"banned_strings": ("never",)}
        anew(page)
        model.info = structs.replace(model.info, samplers=("max_new_tokens",))
        assert (await asked(app, model)).extra is UNSET
        await page.until("cannot do this: banned_strings. The reply is made without.")

        # It is struck through where it was chosen, and told beside the composer.
        page = await app.open("/parameters")
        row = 'parameters-lacking" id="parameters-banned_strings-row".*?never.*?Not with this model'
        assert re.search(row, page.html, re.DOTALL)
        assert 'parameters-pop-lacking">Not with this model: banned_strings.' in page.html
        assert 'id="parameters-pop-banned_strings"' not in page.html
        anew(page)
        await page.act("parameters.show", loader="now")
        await page.until('id="parameters-banned_strings-reset"')

        # What another engine would do is not shown among what this one can.
        anew(page)
        await page.act("parameters.reset", name="banned_strings")
        assert "parameters-banned_strings" not in await page.until('id="parameters-groups"[^§]*')


async def test_a_text_of_several_tokens_is_banned_as_a_phrase(adding: Path, model: Knowing):
    async with running("parameters", adding, model=model) as app:
        page = await app.open("/parameters")
        bans = '" upon"\n"Never heard"\nof that\n"open'
        await page.act("parameters.set", name="custom_token_bans", value=bans)
        shown = await page.until('id="parameters-custom_token_bans-pieces" hx-swap-oob[^§]*')
        assert shown.count("Ban the phrase</button>") == 2, "for two lines of four"
        for line in ('"Never heard"', "of that"):
            await page.act("parameters.ban", line=line)
        sampling = await asked(app, model)
        assert sampling.extra == {"banned_strings": ("Never heard", "of that")}
        assert sampling.custom_token_bans == (1,)
        for line, why in (("of that", "changed meanwhile"), ('"open', "do not fit together")):
            anew(page)
            await page.act("parameters.ban", line=line)
            await page.until(why)


async def test_no_phrase_is_offered_where_the_loader_bans_none(app: App, model: Knowing):
    page = await app.open("/parameters")
    await page.act("parameters.set", name="custom_token_bans", value="Never heard")
    assert "Ban the phrase" not in await page.until("It is 2 tokens.*")
    await page.act("parameters.ban", line="Never heard")
    await page.until("There is no parameter banned_strings any more")


async def test_loaders_say_what_they_can_do_before_anything_is_loaded():
    async with running("parameters", "llama_cpp", "transformers", "llamacpp_hf") as app:
        page = await app.open("/parameters")
        for label in ("llama.cpp", "Transformers", "llamacpp_HF"):
            assert f"what {label} can do" in page.html
        anew(page)
        await page.act("parameters.show", loader="transformers")
        assert "parameters-top_p-row" in forms(page.html)
        assert "parameters-penalty_alpha-row" not in forms(page.html)
        anew(page)
        await page.act("parameters.show", loader="llamacpp_hf")
        assert "parameters-penalty_alpha-row" in forms(page.html)
