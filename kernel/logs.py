"""Log lines without tokens and keys, in which nothing can end a line or move a cursor."""

import logging
import re
import time
import unicodedata
from typing import Any

_SECRET = re.compile(
    r"((?:token|password)=|\bsk-|\bspindle_\d+=|(?i:\bbearer )|spindle\.key\.)[\w.%~+/=-]+"
)

CROWDED = (
    "No file is left for a new connection, which has to wait: too many pages are open. Close some, "
    "or allow Spindle more open files (ulimit -n)."
)


class Crowded(logging.Filter):
    """That no file is left for a new connection is said rarely; who went away is no news."""

    def __init__(self) -> None:
        super().__init__()
        self._said = -10.0

    def filter(self, record: logging.LogRecord) -> bool:
        if not record.getMessage().startswith("socket.accept() out of system resource"):
            said, error = record.getMessage(), (record.exc_info or (None, None))[1]
            windows = "_ProactorBasePipeTransport._call_connection_lost(" in said
            gone = windows and isinstance(error, ConnectionError)
            return said != "socket.send() raised exception." and not gone
        if time.monotonic() - self._said < 10:
            return False
        self._said = time.monotonic()
        record.msg, record.args, record.exc_info = CROWDED, (), None
        return True


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
