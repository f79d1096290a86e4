"""C26: the sanitised string is what reaches the page; each place that makes markup is known."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from kernel.testing import ROOT

MARKUP = r"\bMarkup\s*\(|\|\s*(?:safe|forceescape)\b|autoescape\s*=|\{%-?\s*autoescape|__html__"
SCRIPT = (
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|setHTML|parseFromString|parseHTML"
    r"|createContextualFragment|srcdoc|\beval\s*\(|\bFunction\s*\(|javascript:|\bimport\s*\("
    r"|\bset(?:Timeout|Interval)\s*\(\s*['\"`]|\.swap\s*\(|htmx\.(?:ajax|process)"
)
ATTRIBUTE = (
    r"(?<![\w-])on[a-z]+\s*=\s*[\"'{]|\bhx-on\b|(?<![\w-])style\s*=|<style\b|srcdoc|javascript:"
    r"|<script\b(?! src=\"/static/)|hx-vals=['\"]\s*js:"
)
SINKS = {".py": f"{MARKUP}|\\bHTMLResponse\\(", ".js": SCRIPT, ".html": f"{MARKUP}|{ATTRIBUTE}"}
"""What makes text into markup or into a script, by the kind of file."""

ALLOWED = {
    # the file and the line: why what comes through it is safe
    'extensions/api_docs/__init__.py: return HTMLResponse(ext.render("docs.html", sections=told))':
        "the template docs.html",
    "kernel/serving.py: return HTMLResponse(html, status, headers)": "the template error.html",
    "kernel/app.py: return HTMLResponse(await self._shell(client, tab))": "the template page.html",
    "kernel/pages.py: autoescape=select_autoescape(),": "on, for every template there is (.html)",
    "kernel/pages.py: html = Markup(FAILED).format(kernel.name(entry.owner))":
        "words of the kernel; Markup.format escapes what it puts in",
    "kernel/pages.py: html = Markup()": "nothing at all",
    'kernel/pages.py: return Markup(html.encode(errors="replace").decode())':
        "what Jinja rendered, with escaping on",
    "kernel/rescue.py: return HTMLResponse(html, 503)": "the template rescue.html",
    'kernel/rescue.py: return HTMLResponse(html, 200, {"Refresh": "3; url=/"}, background=restart)':
        "the template rescue.html",
    "kernel/security.py: return HTMLResponse(html, status, headers)": "the template token.html",
    'extensions/chat/__init__.py: html=Markup(html)':
        "markup of the renderer, which escaped the code; test_streams.py reads all of it",
    "extensions/chat/templates/_code.html: {{ html | safe }}": "the same markup",
    "extensions/chat/enclosing.py: found.append(Markup(await each.waiting(client, conversation)))":
        "a template of who encloses something, rendered with escaping on, as panels are",
    "extensions/chat/enclosing.py: found.append(Markup(each.shown(message)))": "the same",
    "extensions/images/serving.py: return HTMLResponse(html, headers=PASSING)":
        "the template whole.html, given the page's own address and two numbers",
    "extensions/chat/sheet.py: return Markup((await self._ext.thread(self._drawn, text)).strip())":
        "a greeting as the renderer leaves it; test_scripts.py shows hostile ones",
    'extensions/chat/views.py: "closed": Markup(closed),':
        "blocks as the renderer finished them; test_streams.py reads them",
    'extensions/chat/views.py: "open": Markup(open_),': "the block it is writing, read there too",
    'extensions/downloader/pages.py: html=Markup(html)':
        "code in a hub's card: markup of the chat's renderer, which escaped it",
    "extensions/downloader/templates/_code.html: {{ html | safe }}": "the same markup",
    'extensions/downloader/pages.py: "html": Markup(html),':
        "a hub's card as the chat's renderer leaves it; test_scripts.py shows hostile ones",
    "extensions/parameters/pages.py: return {name: Markup(html) for name, html in parts.items()}":
        "templates of its own, each rendered with escaping on",
    "extensions/writing/__init__.py: html=Markup(html)": "markup of the chat's renderer, as there",
    'extensions/writing/views.py: "html": Markup(html),':
        "a whole text as the chat's renderer leaves it",
    'extensions/settings/sections.py: return Markup("").join(panels)':
        "panels, each rendered; join escapes what is not",
    "extensions/chat/static/chat.js: import(`${KATEX}.js${asked++ ? `?${asked}` : ''}`)":
        "a constant of its own, KaTeX, which Spindle brings, and a number",
    "static/page/editing.js: htmx.process(part)":
        "a form of the page's own template, cloned as it is",
    'templates/page.html: <script src="{{ script }}" type="module"></script>':
        "addresses that the kernel makes of the ids of extensions, see Assets.found",
}  # fmt: skip


def sources() -> Iterator[Path]:
    """What the server runs and sends; tests and what the kit for tests brings are none of it."""
    for folder in ("templates", "static", "kernel", "extensions"):
        for file in sorted((ROOT / folder).rglob("*")):
            parts = file.relative_to(ROOT).parts
            test = file.name.startswith(("test_", "conftest")) or parts[:2] == ("kernel", "testing")
            if file.suffix in SINKS and "vendor" not in parts and not test:
                yield file


def sinks(text: str, kind: str) -> Iterator[str]:
    """The lines of a source in which something is made into markup or into a script."""
    if kind == ".html":
        text = re.sub(r"{#.*?#}", "", text, flags=re.DOTALL)
    for line in text.splitlines():
        if re.search(SINKS[kind], line):
            yield line.strip()


def known(file: Path, line: str) -> str:
    """The key of the row that a line has."""
    name = file.relative_to(ROOT).as_posix()
    keys = (key for key in ALLOWED if key.partition(": ")[0] == name)
    return next((key for key in keys if key.partition(": ")[2] in line), "")


def test_c26_every_place_that_makes_markup_is_known():
    seen: set[str] = set()
    for file in sources():
        for line in sinks(file.read_text("utf-8"), file.suffix):
            key = known(file, line)
            assert key, (
                f"{file.relative_to(ROOT)} makes markup or a script of a text: {line}\n"
                "Let the template escape it. If it must be, add the line to ALLOWED in "
                "tests/boundary/test_sinks.py with the reason why nothing foreign comes through."
            )
            rest = line.replace(key.partition(": ")[2], "", 1)
            assert not re.search(SINKS[file.suffix], rest), f"one row allows one sink: {line}"
            seen.add(key)
    assert seen == ALLOWED.keys(), "These are gone: take their rows out."


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        (".py", "html = Markup(text)"),
        (".py", "jinja = Environment(autoescape=False)"),
        (".py", "def __html__(self): return self.text"),
        (".py", "return HTMLResponse(text)"),
        (".html", "<p>{{ text | safe }}</p>"),
        (".html", "<p>{{ text|safe }}</p>"),
        (".html", "{% autoescape false %}"),
        (".html", '<b onclick="go()">'),
        (".html", "<b style='{{ x }}'>"),
        (".html", "<script>go()</script>"),
        (".html", '<script src="{{ x }}"></script>'),
        (".html", "<b hx-vals='js:{x: go()}'>"),
        (".html", '<b hx-on:click="go()">'),
        (".js", "e.innerHTML = text;"),
        (".js", "e.insertAdjacentHTML('beforeend', text);"),
        (".js", "e.setHTMLUnsafe(text);"),
        (".js", "new DOMParser().parseFromString(text, 'text/html');"),
        (".js", "new Function(text)();"),
        (".js", "setTimeout('go()', 1);"),
        (".js", "await import(text);"),
        (".js", "htmx.swap({text});"),
    ],
)
def test_a_sink_is_seen(kind: str, line: str):
    assert [*sinks(line, kind)] == [line]


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        (".html", '<p data-on="x" class="style">on it</p>'),
        (".html", '<script src="/static/page.js" type="module"></script>'),
        (".html", "{# {{ html | safe }} #}"),
        (".js", "e.textContent = text;"),
        (".py", "from markupsafe import Markup"),
    ],
)
def test_what_escapes_is_no_sink(kind: str, line: str):
    assert not [*sinks(line, kind)]
