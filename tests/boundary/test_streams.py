"""C24: what a model writes, cut anywhere: every frame and the end hold allowed markup alone."""

import pytest
from jinja2 import Environment
from markupsafe import Markup

from extensions.chat.blocks import Blocks, Frame
from extensions.chat.drawing import coloured
from extensions.chat.markdown import Markdown
from kernel.api import Delta, Mark
from kernel.testing import ROOT
from tests.boundary.allowed import wrong
from tests.boundary.corpus import BASE, vectors

FILE = ROOT / "extensions/chat/templates/_code.html"
TEMPLATE = Environment(autoescape=True).from_string(FILE.read_text("utf-8"))
STARTS = ("", "Words. ", "```js\n", "- a\n- ", "|a|\n|-|\n|", "> ", "[x](", "**", "`", "<b ")
"""What stands before a vector: in a paragraph, in code, in a list, in a table, in a link."""


def code(language: str, html: str) -> str:
    """As extensions/chat/__init__.py writes a block of code."""
    return TEMPLATE.render(language=language, html=Markup(html)).strip()


@pytest.fixture(scope="module")
def markdown() -> Markdown:
    return Markdown(code)


def page(html: tuple[str, str], blocks: Blocks, frame: Frame) -> tuple[str, str]:
    """What a page has after a frame: its finished blocks and the open one."""
    closed = frame.closed if frame.anew else html[0] + frame.closed
    if frame.code:
        return closed, blocks.open
    return closed, html[1] if frame.open is None else frame.open


def test_at_least_five_hundred_and_each_one_is_another():
    assert len(vectors()) >= 500


@pytest.mark.parametrize(
    "html",
    [f"<p>{text}</p>" for text in BASE] + [
        '<a href="javascript:x">x</a>', '<a href=" https://x">x</a>', "<p onclick=x>x</p>", "<p>",
        "</p>", "<p></b>", "<!-- x -->", "<br/><b>x</b>", '<img src="x">', "<p hx-get=/>x</p>",
        '<span class="x" id="main">x</span>', '<td style="text-align:left">x</td>', "<x-y></x-y>",
        '<a href="https://x" href="https://y">x</a>', "<?x?>", "<![CDATA[x]]>", "<!doctype x>",
    ],
)  # fmt: skip
def test_the_list_of_what_is_allowed_can_refuse(html: str):
    assert wrong(html)


def test_the_whole_text(markdown: Markdown):
    for number, vector in enumerate(vectors()):
        text = STARTS[number % len(STARTS)] + vector
        for html in (markdown.render(text), markdown.draft(text)):
            assert not wrong(html), (number, text, html)


def test_a_letter_at_a_time(markdown: Markdown, pytestconfig: pytest.Config):
    """Every beginning of a vector is drawn once; the page never holds anything else. Without --long
    of a third of them."""
    some = vectors()[:: 1 if pytestconfig.getoption("--long") else 3]
    for number, vector in enumerate(some):
        blocks, html = Blocks(markdown, "chat-mx-code"), ("", "")
        for letter in vector:
            blocks.add(letter)
            html = page(html, blocks, blocks.frame())
            assert not wrong(html[0] + html[1]), (number, vector, html)
        assert blocks.finish() == markdown.render(vector), (number, vector)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("start", STARTS)
def test_cut_in_two_at_every_byte(markdown: Markdown, start: str):
    for number, vector in enumerate(vectors()):
        text = start + vector
        whole = markdown.render(text)
        for cut in range(len(text) + 1):
            blocks, html = Blocks(markdown, "chat-mx-code"), ("", "")
            for piece in (text[:cut], text[cut:]):
                blocks.add(piece)
                html = page(html, blocks, blocks.frame())
                assert not wrong(html[0] + html[1]), (number, vector, cut)
            assert blocks.finish() == whole, (number, vector, cut)


def test_replaced_by_a_modifier_anywhere(markdown: Markdown):
    """A rewriting modifier takes back what was said: the page follows, with nothing left over."""
    for number, vector in enumerate(vectors()[::5]):
        for cut in range(0, len(vector), 7):
            blocks, html = Blocks(markdown, "chat-mx-code"), ("", "")
            blocks.add(vector)
            html = page(html, blocks, blocks.frame())
            blocks.replace(vector[cut:] + vector[:cut])
            html = page(html, blocks, blocks.frame())
            assert not wrong(html[0] + html[1]), (number, vector, cut)


def test_marks_of_modifiers():
    """Titles and classes of marks are words of an extension, perhaps a model's."""
    for number, vector in enumerate(vectors()):
        html = coloured(Delta(vector, marks=(Mark(0, max(1, len(vector) // 2), vector, vector),)))
        inside = html.removeprefix('<span class="').partition('"')
        assert not set(inside[0]) & set("<>\"'&="), (number, html)
        title, _, rest = inside[2].removeprefix(' title="').partition('">')
        assert not set(title) & set("<>\"'"), (number, html)
        assert not wrong(rest.replace("</span>", "", 1)), (number, html)
