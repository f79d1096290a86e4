"""A place beside the server where any template may be rendered: started when it is first needed."""

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from extensions.engine_kit.api import ChatTemplate
from kernel.api import Message, Refused

CLOSED = "Prompts is switched off. Switch it on in Settings."


class Sandbox:
    """One template at a time; closing waits for it, which is two seconds at most. Blocking."""

    def __init__(self, tokens: Mapping[str, str]) -> None:
        self._tokens = tokens
        self._lock = threading.Lock()
        self._chat: ChatTemplate | None = None
        self._closed = False

    def render(self, messages: Sequence[Message], **how: Any) -> str:
        """As `ChatTemplate.render`; raises Refused."""
        with self._lock:
            if self._closed:
                raise Refused(CLOSED)
            self._chat = self._chat or ChatTemplate("", self._tokens)
            return self._chat.render(messages, **how)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            if self._chat:
                self._chat.close()
