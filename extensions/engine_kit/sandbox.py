"""Renders chat templates in a process that may be killed: run by `templates.py`, line by line.

A template is a program by whoever made the model. Jinja's sandbox keeps it from everything but
strings; what it may cost is limited by the system, which is the only one that can.
"""

import json
import sys
from datetime import datetime
from functools import lru_cache
from typing import Any, NoReturn

from jinja2 import Template, TemplateError, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

LARGEST = 16_000_000
"""Characters of output."""
MEMORY = 256 << 20
"""Bytes of address space, where the system can limit it."""


class Generation(Extension):
    """`{% generation %}` marks the assistant's words for training; here it means nothing."""

    tags = {"generation"}  # noqa: RUF012, as Jinja declares it

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return list(parser.parse_statements(("name:endgeneration",), drop_needle=True))


def refuse(message: str) -> NoReturn:
    raise TemplateError(message)


def tojson(value: Any, ensure_ascii: bool = False, **more: Any) -> str:
    """Unlike Jinja's own, leaves quotes and angle brackets alone: this is no HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, **more)


@lru_cache(8)
def compiled(source: str) -> Template:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", Generation]
    )
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return environment.from_string(source)


def render(source: str, context: dict[str, Any]) -> dict[str, str]:
    """`{"text": …}`, or `{"error": …}` with what the template said, or `{"cost": …}`."""
    pieces, length = [], 0
    try:
        for piece in compiled(source).generate(context):
            pieces.append(piece)
            length += len(piece)
            if length > LARGEST:
                return {"cost": f"it wrote more than {LARGEST:,} characters"}
    except MemoryError:
        pieces.clear()
        return {"cost": "it used too much memory"}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"[:500]}
    return {"text": "".join(pieces)}


if __name__ == "__main__":
    if sys.platform == "linux":  # macOS counts what is only reserved, and refuses.
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    for line in sys.stdin:
        print(json.dumps(render(*json.loads(line))), flush=True)  # noqa: T201
