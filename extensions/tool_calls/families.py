"""How each family of models writes a call of a tool: the mark it begins with, and what follows.

The formats are facts of the models' own chat templates.
"""

import re
from collections.abc import Callable, Generator, Mapping

from .reading import Found, NoCall, Parser, Reader
from .values import Tools, arguments, call, gemma, listed, parsed, python, typed

Family = Callable[[Reader, Tools], Parser]
One = Callable[[Reader, Tools], Generator[None, None, Found]]

NAME = re.compile(r'\bname\s*=\s*"([^"]*)"')
STRING = re.compile(r'\bstring\s*=\s*"(true|false)"')
LONGEST = 200
"""Characters of a tag's inside or a header."""
BAR = "\uff5c"
"""DeepSeek's, which is a wide one."""
SEP, ENDS = f"<{BAR}tool▁sep{BAR}>", f"<{BAR}tool▁call▁end{BAR}>"
DEEPSEEK, ALL = f"<{BAR}tool▁call▁begin{BAR}>", f"<{BAR}tool▁calls▁end{BAR}>"
DSML = f"{BAR}DSML{BAR}"
KIMI, SECTION = "<|tool_call_begin|>", "<|tool_calls_section_end|>"


# --- JSON -------------------------------------------------------------------------------


def objects(*ends: str) -> Family:
    """JSON objects or lists of them, one after the other, and perhaps a tag at the end."""

    def family(reader: Reader, tools: Tools) -> Parser:
        yield from reader.space()
        while True:
            yield from listed(parsed((yield from reader.nested())), tools)
            if (yield from reader.after_space(*ends)):
                return
            begin = reader.at
            yield from reader.after_space(";", ",")
            yield from reader.space()
            if (yield from reader.letter()) not in ("{", "["):
                reader.at = begin
                return

    return family


def json_or_python(*ends: str) -> Family:
    """A list of calls as JSON or as Python, or one of them."""

    def family(reader: Reader, tools: Tools) -> Parser:
        yield from reader.space()
        first = yield from reader.letter()
        begin = reader.at
        if first == "[":
            reader.at += 1
            yield from reader.space()
            first = yield from reader.letter()
            reader.at = begin
        if first in ("{", ""):
            yield from objects(*ends)(reader, tools)
            return
        yield from (yield from pythonic(reader, tools))
        yield from reader.after_space(*ends)

    return family


def pythonic(reader: Reader, tools: Tools) -> Generator[None, None, list[Found]]:
    """`[f(a=1), g()]` or `f.call(a=1)`."""
    begin = reader.at
    in_list = bool((yield from reader.tag("[")))
    yield from reader.space()
    yield from reader.need(*tools.offered)
    yield from reader.tag(".call")
    if (yield from reader.letter()) != "(":
        raise NoCall
    if in_list:
        reader.at = begin
    yield from reader.nested("()[]{}", ("'", '"'))
    return python(reader.words[begin : reader.at], tools)


# --- tags -------------------------------------------------------------------------------


def hermes(reader: Reader, tools: Tools) -> Parser:
    """`<tool_call>` of Hermes and Qwen (JSON), Qwen's coder (XML), GLM (pairs) and others."""
    end = "</tool_call>"
    yield from reader.space()
    begin = reader.at
    if (yield from reader.letter()) in ("{", "["):
        yield from objects(end)(reader, tools)
    elif (yield from reader.tag("<function=")):
        reader.at = begin
        yield from functions(end)(reader, tools)
    elif (yield from reader.tag("<invoke")):
        reader.at = begin
        yield from invocations(end)(reader, tools)
    else:
        yield from pairs(reader, tools)


def pairs(reader: Reader, tools: Tools) -> Parser:
    """GLM: a name, then `<arg_key>` and `<arg_value>` in turn."""
    name = tools.known((yield from reader.need(*tools.offered)))
    given = {}
    yield from reader.space()
    begin = reader.at
    if (yield from reader.letter()) == "{":
        given = arguments(parsed((yield from reader.nested())))
    while (yield from reader.after_space("<arg_key>")):
        key = (yield from reader.until("</arg_key>", LONGEST)).strip()
        yield from reader.space()
        yield from reader.need("<arg_value>")
        words = yield from reader.value("</arg_value>", ("<arg_key>", "</tool_call>"))
        given[key] = typed(words, tools.properties(name).get(key))
    ended = yield from reader.after_space("</tool_call>")
    if not ended and reader.at == begin:
        raise NoCall  # A name alone.
    yield call(name, given)


def functions(end: str, *, begun: bool = False) -> Family:
    """`<function=name>`, then `<parameter=key>` for each; Llama writes JSON in their place."""
    return section(function, "<function=", end, begun=begun)


def function(reader: Reader, tools: Tools) -> Generator[None, None, Found]:
    name = tools.known((yield from reader.until(">", LONGEST)))
    yield from reader.space()
    if (yield from reader.letter()) == "{":
        given = arguments(parsed((yield from reader.nested())))
        yield from reader.after_space("</function>")
        return call(name, given)
    given, ends = {}, ("</function>", "</tool_call>", "</seed:tool_call>")
    while (found := (yield from reader.after_space("<parameter=", *ends))) == "<parameter=":
        key = (yield from reader.until(">", LONGEST)).strip()
        words = yield from reader.value("</parameter>", ("<parameter=", *ends))
        given[key] = typed(words, tools.properties(name).get(key))
    if found != "</function>" and not (given and (found or reader.over)):
        raise NoCall
    if found in ends[1:]:
        reader.at -= len(found)
    return call(name, given)


def invocations(end: str, prefix: str = "") -> Family:
    """`<invoke name="…">` with `<parameter name="…">`: MiniMax; with a prefix DeepSeek 3.2."""
    invoke, close = f"<{prefix}invoke", f"</{prefix}invoke>"
    parameter, stop = f"<{prefix}parameter", f"</{prefix}parameter>"

    def one(reader: Reader, tools: Tools) -> Generator[None, None, Found]:
        name = tools.known(attribute((yield from reader.until(">", LONGEST))))
        given = {}
        while (yield from reader.after_space(parameter, close)) == parameter:
            inside = yield from reader.until(">", LONGEST)
            words = yield from reader.value(stop, (parameter, close))
            schema = tools.properties(name).get(key := attribute(inside))
            if kind := STRING.search(inside):
                schema = {"type": "string"} if kind[1] == "true" else {}
            given[key] = typed(words, schema)
        if not reader.words.endswith(close, 0, reader.at) and not (given and reader.over):
            raise NoCall
        return call(name, given)

    return section(one, invoke, end)


def attribute(inside: str) -> str:
    found = NAME.search(inside)
    if not found:
        raise NoCall
    return found[1]


# --- tokens -----------------------------------------------------------------------------


def section(one: One, begin: str, end: str, *, begun: bool = False) -> Family:
    """Calls that each begin with a token, and a token at the end of all."""

    def family(reader: Reader, tools: Tools) -> Parser:
        if not begun:
            yield from reader.space()
            yield from reader.need(begin)
        while True:
            yield (yield from one(reader, tools))
            if (yield from reader.after_space(begin, end)) != begin:
                return

    return family


def deepseek(reader: Reader, tools: Tools) -> Generator[None, None, Found]:
    """R1 and V3: a kind, the separator, a name and JSON in a fence; V3.1: a name in its place."""
    head = yield from reader.until(SEP, LONGEST)
    yield from reader.space()
    if (yield from reader.letter()) != "{":
        head = yield from reader.need(*tools.offered)
        yield from reader.space()
        if (yield from reader.tag("```json", "```")):
            yield from reader.space()
    name = tools.known(head)
    given = arguments(parsed((yield from reader.nested())))
    yield from reader.after_space("```")
    yield from reader.after_space(ENDS)
    return call(name, given)


def kimi(reader: Reader, tools: Tools) -> Generator[None, None, Found]:
    """Kimi: `functions.name:0`, then JSON."""
    name = tools.known((yield from reader.until("<|tool_call_argument_begin|>", LONGEST)))
    yield from reader.space()
    given = arguments(parsed((yield from reader.nested())))
    yield from reader.after_space("<|tool_call_end|>")
    return call(name, given)


def mistral(reader: Reader, tools: Tools) -> Parser:
    """A list, or since version 11 a name, perhaps an id, and JSON."""
    yield from reader.space()
    if (yield from reader.letter()) in ("[", "{"):
        yield from objects()(reader, tools)
        return
    name = tools.known((yield from reader.need(*tools.offered)))
    if (yield from reader.tag("[CALL_ID]", "[ARGS]")) == "[CALL_ID]":
        yield from reader.until("[ARGS]", LONGEST)
    yield from reader.space()
    yield call(name, arguments(parsed((yield from reader.nested()))))


def gemma_call(end: str) -> Family:
    """`call:name{key:<|"|>words<|"|>}`: Gemma 4; with other tokens FunctionGemma."""

    def family(reader: Reader, tools: Tools) -> Parser:
        yield from reader.space()
        yield from reader.need("call:")
        name = tools.known((yield from reader.need(*tools.offered)))
        raw = yield from reader.nested(quotes=('<|"|>', "<escape>", '"'))
        yield call(name, gemma(raw))
        yield from reader.after_space(end)

    return family


def harmony(reader: Reader, tools: Tools) -> Parser:
    """GPT-OSS: a message to `functions.name`, in a channel; who it is to may stand before that."""
    header = yield from reader.until("<|message|>", LONGEST)
    to = re.search(r"\bto=(functions\.\S+?)(?=\s|<|$)", header)
    if not to:
        raise NoCall
    name = tools.known(to[1])
    yield from reader.space()
    yield call(name, arguments(parsed((yield from reader.nested()))))
    yield from reader.after_space("<|call|>", "<|end|>")


FAMILIES: Mapping[str, Family] = {
    "<tool_call>": hermes,
    "<function=": functions("</tool_call>", begun=True),
    "<function_call>": objects("</function_call>"),
    "<tool_calls>": objects("</tool_calls>"),
    "<TOOLCALL>": objects("</TOOLCALL>"),
    "<|START_ACTION|>": objects("<|END_ACTION|>"),
    "<|tool_call|>": objects("<|/tool_call|>", "</|tool_call|>", "</tool_call>"),
    "<seed:tool_call>": functions("</seed:tool_call>"),
    "<minimax:tool_call>": invocations("</minimax:tool_call>"),
    "<function_calls>": invocations("</function_calls>"),
    f"<{DSML}function_calls>": invocations(f"</{DSML}function_calls>", DSML),
    f"<{DSML}tool_calls>": invocations(f"</{DSML}tool_calls>", DSML),
    f"<{BAR}tool▁calls▁begin{BAR}>": section(deepseek, DEEPSEEK, ALL),
    DEEPSEEK: section(deepseek, DEEPSEEK, ALL, begun=True),
    "<|tool_calls_section_begin|>": section(kimi, KIMI, SECTION),
    KIMI: section(kimi, KIMI, SECTION, begun=True),
    "[TOOL_CALLS]": mistral,
    "<|python_tag|>": json_or_python(),
    "<|python_start|>": json_or_python("<|python_end|>"),
    "<|tool_call_start|>": json_or_python("<|tool_call_end|>"),
    "<|tool_call>": gemma_call("<tool_call|>"),
    "<start_function_call>": gemma_call("<end_function_call>"),
    "<|start|>assistant": harmony,
    "<|channel|>": harmony,
}
"""By the mark that a call begins with; none of these is the beginning of another."""
