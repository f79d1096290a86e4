"""What a model wrote is safe as HTML, and the same whether it came at once or bit by bit."""

import re
import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markupsafe import Markup

from extensions.chat.blocks import Blocks
from extensions.chat.markdown import Markdown
from extensions.chat.reading import LONGEST, LONGEST_PARAGRAPH

TEXT = """# Title
para one
still *one*

- a
- b
  more
- [ ] c

  ```py
  in a list
  ```
1. x
2. y

| a | b |
|--:|:-:|
| 1 | <b> |

```python
def f(x: list[int]) -> str:
    return "```"
``
   ````\x20
after `code`

~~~sh
x ``` y
~~~
> quote
lazy
- a
---x
- a
---
    code

    code2
x
===
a&amp;b ~~gone~~ ![img](http://a.b/c.png) [![i](http://a.b)](http://c.d)
$$
a
- b
$$
- \\[
  c \\]

\\begin{align}
+ d
\\end{align} "e *f* g" “h $i$
<b hx-get="/x">hi</b> <http://auto.link> 🧵 nul\0
\r
\rend\r\nof it\r"""

PIECES = [
    "\n", "\n\n", "\r\n", "\r", " ", "    ", "\t", "- ", "* ", "1. ", "> ", "# ", "===", "---",
    "***", "```", "````", "~~~", "``", "`", "py", "| a | b |", "|---|--:|", "|", "*", "_", "~~",
    "[a]", "(http://b)", "]: http://c", "![", "<b>", "&lt;", "\\", "\0", "word", "א", "🧵", "x",
    "$", "$$", r"\(", r"\)", r"\[", r"\]", r"\begin{align}", r"\end{align}", '"', "“", "”",
]  # fmt: skip


def code(language: str, html: str) -> str:
    """As templates are rendered: their result escapes what is added to it."""
    return Markup(f'<div class="code"><span>{language}</span><pre><code>{html}</code></pre></div>')


@pytest.fixture(scope="module")
def markdown() -> Markdown:
    return Markdown(code)


class Page:
    """What a browser makes of frames."""

    def __init__(self) -> None:
        self.closed = self.open = ""

    def show(self, blocks: Blocks) -> None:
        frame = blocks.frame()
        self.closed = frame.closed if frame.anew else self.closed + frame.closed
        if frame.open is not None:
            self.open = frame.open
        if frame.code:
            head, mark, tail = self.open.rpartition("</span></code>")
            assert mark
            self.open = head + frame.code + mark + tail
        assert (self.closed, self.open) == (blocks.closed, blocks.open)


# --- the same, however it comes ---------------------------------------------------------


@pytest.mark.parametrize("text", [TEXT, "[a]\n\n> [b]: http://x.y\n\n- [b]\n[a]: http://z\n"])
def test_split_anywhere_it_is_the_same(markdown: Markdown, text: str):
    whole = markdown.render(text)
    for place in range(len(text) + 1):
        page, blocks = Page(), Blocks(markdown, "c")
        for part in (text[:place], text[place:]):
            blocks.add(part)
            page.show(blocks)
        assert blocks.finish() == whole, text[:place]


def test_letter_by_letter_it_is_the_same(markdown: Markdown):
    page, blocks = Page(), Blocks(markdown, "c")
    for letter in TEXT:
        blocks.add(letter)
        page.show(blocks)
    assert blocks.finish() == markdown.render(TEXT)
    assert page.closed.startswith("<h1>Title</h1>")


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=40), st.integers(1, 5))
def test_whatever_is_written_it_is_the_same(pieces: list[str], every: int):
    markdown = Markdown(code)
    page, blocks = Page(), Blocks(markdown, "c")
    for number, piece in enumerate(pieces):
        blocks.add(piece)
        if not number % every:
            page.show(blocks)
    assert blocks.finish() == markdown.render("".join(pieces))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.lists(st.sampled_from(PIECES), max_size=15)), max_size=6)
)
def test_replacements_of_all_so_far_are_the_same(steps: list[tuple[bool, list[str]]]):
    markdown = Markdown(code)
    page, blocks, text = Page(), Blocks(markdown, "c"), ""
    for replace, pieces in steps:
        piece = "".join(pieces)
        text = text[: len(text) // 2] + piece if replace else text + piece
        blocks.replace(text) if replace else blocks.add(piece)
        page.show(blocks)
    assert blocks.finish() == markdown.render(text)


def test_finished_blocks_are_sent_once_and_stay_through_a_replacement_below_them(
    markdown: Markdown,
):
    blocks = Blocks(markdown)
    blocks.add("one\n\ntwo\n\nthree\n")
    assert blocks.frame()[:2] == ("<p>one</p>\n<p>two</p>\n", "<p>three</p>\n")
    blocks.add("more")
    assert blocks.frame()[:2] == ("", "<p>three<br />\nmore</p>\n")
    blocks.replace("one\n\ntwo\n\nthree\nLESS")
    assert blocks.frame() == ("", "<p>three<br />\nLESS</p>\n", "", False)
    blocks.replace("ONE\n\ntwo\n\nthree\n")
    assert blocks.frame() == ("<p>ONE</p>\n<p>two</p>\n", "<p>three</p>\n", "", True)
    assert blocks.frame() == ("", None, "", False)


def test_open_code_grows_by_its_new_words_alone(markdown: Markdown):
    page, blocks = Page(), Blocks(markdown, "c")
    blocks.add("```python\nx = 1\n")
    page.show(blocks)
    blocks.add("y < 2")
    assert blocks.frame() == ("", None, "y &lt; 2", False)
    blocks.add("\n``")
    assert blocks.frame().code == "\n", "what may be the end of the block waits"
    blocks.add("`")
    assert blocks.frame() == ("", None, "", False)
    blocks.add("\nafter")
    frame = blocks.frame()
    assert "``" not in re.sub("<.*?>", "", frame.closed)
    assert frame.open == "<p>after</p>\n"


@pytest.mark.parametrize("text", ["word " * 20_000, "```\n" + "x = 1\n" * 20_000])
def test_the_cost_of_a_frame_is_bounded(markdown: Markdown, text: str):
    blocks, slowest = Blocks(markdown, "c"), 0.0
    for start in range(0, len(text), 2000):
        blocks.add(text[start : start + 2000])
        begun = time.thread_time()
        blocks.frame()
        slowest = max(slowest, time.thread_time() - begun)
    assert slowest < 0.5


# --- safe -------------------------------------------------------------------------------

HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '<div hx-get="/x" hx-trigger="load">',
    '<div hx-swap-oob="true" id="main">',
    '<!-- --><svg onload="x">',
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x](data:text/html;base64,PHN2Zz4=)",
    "[x](vbscript:x) [x](file:///etc/passwd) [x](/settings) [x](//evil.test) [x](#main)",
    '[x](http://a "t\\" onclick=\\"x")',
    '[x](http://a"onclick="x)',
    "![x](javascript:alert(1))",
    "![x](http://evil.test/pixel.png)",
    '![" onerror="x](http://evil.test/pixel.png)',
    "[![x](http://a)](javascript:alert(1))",
    '```" onclick="x\ncode\n```',
    "```<script>\ncode\n```",
    "```html\n<script>alert(1)</script>\n```",
    "```python hx-get=/x\ncode\n```",
    '<http://a"onclick="x>',
    "<javascript:alert(1)>",
    "|<b>|\n|---|\n|<i onclick=x>|",
    "&lt;script&gt; &#60;script&#62; &#x3c;script&#x3e;",
    "[x]: javascript:alert(1)\n\n[x]",
    "\0<\0script>",
    "$<img src=x onerror=alert(1)>$",
    "$$</chat-math><script>alert(1)</script>$$",
    r"\begin{align}<svg onload=alert(1)>\end{align}",
    r"\[ \href{javascript:alert(1)}{x} \]",
    'He said "<b onclick=alert(1)>" and “</q><script>”',
]
ALLOWED = {
    "a": {"href", "title", "rel", "target"}, "ol": {"start"}, "td": {"class"}, "th": {"class"},
    "span": {"class", "id"}, "div": {"class"}, "chat-math": {"class"},
}  # fmt: skip


def assert_safe(html: str) -> None:
    tags = re.findall(r"<(/?)([^\s>/]*)([^>]*)>", html)
    assert "<" not in re.sub(r"<(/?)([^\s>/]*)([^>]*)>", "", html)
    for _, tag, rest in tags:
        assert re.fullmatch(
            r"a|b|blockquote|br|chat-math|code|del|div|em|h[1-6]|hr|li|ol|p|pre|q|s|span|strong|table|tbody"
            r"|td|th|thead|tr|ul",
            tag,
        ), tag
        attributes = re.findall(r'\s([^\s=]+)="([^"]*)"', rest)
        assert re.sub(r'\s([^\s=]+)="([^"]*)"', "", rest).strip() in ("", "/")
        assert {name for name, _ in attributes} <= ALLOWED.get(tag, set())
        for name, value in attributes:
            assert name != "href" or re.match(r"(https?://|mailto:)", value, re.IGNORECASE)
            assert name != "rel" or "noopener" in value


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_gets_out_as_markup(markdown: Markdown, text: str):
    assert_safe(markdown.render(text))
    assert_safe(markdown.draft(text))
    for place in range(len(text)):
        blocks = Blocks(markdown)
        for part in (text[:place], text[place:]):
            blocks.add(part)
            frame = blocks.frame()
            assert_safe(frame.closed + (frame.open or "") + frame.code.replace("&lt;", ""))


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("so $a<b$ is", "<p>so <chat-math>a&lt;b</chat-math> is</p>"),
        (r"so \(a\) is", "<p>so <chat-math>a</chat-math> is</p>"),
        ("$$a$$", '<p><chat-math class="display">a</chat-math></p>'),
        ("$$\na\n- b\n$$\nc", '<p><chat-math class="display">a\n- b</chat-math></p>\n<p>c</p>'),
        (r"\[a\]", '<p><chat-math class="display">a</chat-math></p>'),
        (
            r"So \begin{align}a&=b\end{align} is",
            r'<p>So <chat-math class="display">\begin{align}a&amp;=b\end{align}</chat-math> is</p>',
        ),
        (r"So \begin{align}a is", r"<p>So \begin{align}a is</p>"),
        (
            "> $$\n> a\n> $$",
            '<blockquote>\n<p><chat-math class="display">a</chat-math></p>\n</blockquote>',
        ),
        ("it costs $5 and $10", "<p>it costs $5 and $10</p>"),
        ("a $20-$30 range", "<p>a $20-$30 range</p>"),
        (r"\$a\$", "<p>$a$</p>"),
        (r"$a\$b$", r"<p><chat-math>a\$b</chat-math></p>"),
        ("`$a$`", "<p><code>$a$</code></p>"),
        ("$$\nnever closed\n\n# b", "<p>$$\nnever closed</p>\n<h1>b</h1>"),
        ('say "a *b* c" now', "<p>say <q>&quot;a <em>b</em> c&quot;</q> now</p>"),
        ("“a” and «b»", "<p><q>“a”</q> and <q>«b»</q></p>"),
        ('x="1" 5" wide "open', "<p>x=&quot;1&quot; 5&quot; wide &quot;open</p>"),
        ('*"a* b"', "<p><em>&quot;a</em> b&quot;</p>"),
    ],
)
def test_formulas_and_speech(markdown: Markdown, text: str, html: str):
    assert markdown.render(text) == html + "\n"


@settings(max_examples=80, deadline=None)
@given(st.lists(st.sampled_from([*HOSTILE, *PIECES]), max_size=12))
def test_no_combination_gets_out_either(pieces: list[str]):
    assert_safe(Markdown(code).render("".join(pieces)))


def test_a_picture_is_a_link_and_loads_nothing(markdown: Markdown):
    assert markdown.render("![a *b*](http://x/y.png)") == (
        '<p><a href="http://x/y.png" rel="noopener noreferrer" target="_blank">a b</a></p>\n'
    )
    assert "<a" not in markdown.render("[![a](http://x)](/y)").replace('<a href="http://x"', "")


def test_links_open_outside(markdown: Markdown):
    link = '<a href="https://x.y/?a=1&amp;b=2" title="t" rel="noopener noreferrer" target="_blank">'
    assert markdown.render('[a](https://x.y/?a=1&b=2 "t")') == f"<p>{link}a</a></p>\n"


def test_columns_are_aligned_by_classes(markdown: Markdown):
    html = markdown.render("|a|b|\n|--:|---|\n|1|2|")
    assert '<th class="right">a</th>' in html
    assert "style" not in html


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("- [ ] milk", '<li class="task"><span role="img" aria-label="to do">☐</span> milk</li>'),
        (
            "1. [X] *all*\n",
            '<li class="task"><span role="img" aria-label="done">☑</span> <em>all</em></li>',
        ),
        ("- [x]milk", "<li>[x]milk</li>"),
        ("- [ ]", "<li>[ ]</li>"),
        ("- so [ ] milk", "<li>so [ ] milk</li>"),
        ("[ ] milk", "<p>[ ] milk</p>"),
        ("- a\n\n  [ ] b", "<p>[ ] b</p>"),
    ],
)
def test_tasks_have_a_box(markdown: Markdown, text: str, html: str):
    assert html in markdown.render(text)


def test_code_is_coloured_when_its_language_is_known(markdown: Markdown):
    assert '<span class="k">def</span>' in markdown.render("```python\ndef f(): ...\n```")
    assert "<span>py</span>" in markdown.render("```py title=x\na\n```")
    assert markdown.render("```nonsense\n<a>\n```").count("&lt;a&gt;") == 1
    assert "class=" not in markdown.draft("```python\ndef f(): ...\n```").replace('class="code', "")
    words = "x = '  <&>\"'\n\n\ty\n\n"
    html = markdown.render(f"```python\n{words}```")
    text = re.sub("<.*?>", "", html.partition("<code>")[2])
    for entity, letter in ("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&#39;", "'"):
        text = text.replace(entity, letter)
    assert text.replace("&amp;", "&").strip("\n") == words.strip("\n")


def test_endless_text_is_shown_as_it_is(markdown: Markdown):
    begun = time.thread_time()
    hostile = markdown.render("![" * 90_000)
    longer = markdown.render("*<b>" * LONGEST)
    paragraph = markdown.render("*a* " * LONGEST_PARAGRAPH)
    assert time.thread_time() - begun < 2
    assert hostile == f"<p>{'![' * 90_000}</p>\n"
    assert longer == f"<pre>{'*&lt;b&gt;' * LONGEST}</pre>\n"
    assert "<em>" not in paragraph


@pytest.mark.parametrize(
    "text",
    [
        f"```java\n{'a b' * 6_600}\n```",
        f"```perl\n{'s{' * 9_900}\n```",
        f"```devicetree\n{'a' * 16_000}\n```",
        f"```html+ng2\n{'(' * 16_000}\n```",
        f"````markdown\n```devicetree\n{'a' * 16_000}\n```\n````\n",
        f"```matlab\n{chr(10) * 1_400}x\n```\n\n" * 100,
        f"```devicetree\n{'a' * 1_400}\n```\n\n" * 100,
        f"{'![' * 290}\n\n" * 330,
    ],
    ids=["java", "perl", "devicetree", "ng2", "nested", "matlab", "many", "brackets"],
)
def test_hostile_text_is_read_in_no_time(markdown: Markdown, text: str):
    begun = time.thread_time()
    html = markdown.render(text)
    assert time.thread_time() - begun < 1
    assert len(html) > len(text)


def test_definitions_of_links_reach_back(markdown: Markdown):
    blocks = Blocks(markdown)
    blocks.add("see [this]\n\n")
    blocks.frame()
    blocks.add("[this]: http://x.y\n")
    blocks.frame()
    assert '<a href="http://x.y"' in blocks.finish()


def test_lines_only_closed_when_they_are_whole(markdown: Markdown):
    for before, after in pairwise(["- a\n-", "- a\n--", "- a\n---", "- a\n---x"]):
        blocks = Blocks(markdown)
        blocks.add(before)
        blocks.frame()
        blocks.add(after.removeprefix(before))
        assert not blocks.frame().closed
