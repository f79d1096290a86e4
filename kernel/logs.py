"""Log lines without tokens and keys, in which nothing can end a line or move a cursor."""

import logging
import re
import unicodedata
from typing import Any

_SECRET = re.compile(
    r"((?:token|password)=|\bsk-|\bspindle_\d+=|(?i:\bbearer )|spindle\.key\.)[\w.%~+/=-]+"
)


class Discreet(logging.Formatter):
    """The format of everything Spindle logs."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        record.message = discreet(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:
        return _inside(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:
        return _inside(super().formatStack(stack_info))


def _inside(text: str) -> str:
    """Lines that belong to the one before: what an exception says cannot begin a line of ours."""
    return "\n".join(f"  | {discreet(line)}" for line in text.split("\n"))


def discreet(text: str) -> str:
    """A text as it may stand in one line of a log."""
    text = _SECRET.sub(r"\1…", text)
    odd = {c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")}
    return text.translate({ord(c): ascii(c)[1:-1] for c in odd - {"\t"}})
