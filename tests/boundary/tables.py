"""What exists, row by row: a new address or a new text joins here, and the attacks reach it."""

ROUTES = {
    # address: who may ask there
    "kernel /static/{file}": "public",
    "kernel /ext/{id}/static/{file}": "page",
    "kernel /": "page",
    "kernel /{anything}": "page",
    "kernel /ws": "page",
    "kernel /login": "door",
    "kernel /logout": "door",
    "chat /chat": "page",
    "chat /chat/x": "page",
    "settings /settings": "page",
    "settings /settings/x": "page",
    "workshop /ext/workshop/archive": "admin",
    "example /ext/example/heard": "page",
    "websocket_api /api/ws": "inference",
    "websocket_api /api/ws/schema.json": "inference",
    "websocket_api /api/generate": "inference",
}
"""Every address of kernel and extensions; "door": the door itself answers, whoever asks."""

STORED = "stored_conversations"
TITLES = "titles_and_what_a_search_finds"
CARDS = "cards_of_extensions"
FILES = "files_of_models"
SAID = "what_is_said_while_it_runs"
WRITTEN = "a_reply_as_it_is_written"
ACTED = "every_action_with_every_vector"
ENGINE = "never shown: it goes to the engine"
IDS = "never shown: an id that the server made"
CODE = "never shown: a name in the source of an extension, of letters"

TEXTS = {
    # the field: the step of test_scripts.py that carries every vector through it, or why none does
    "action *": ACTED,
    "setting *": CARDS,
    "option *": FILES,
    "column conversations.title": TITLES,
    "column messages.text": STORED,
    "column messages.raw": STORED,
    "column messages.reasoning": STORED,
    "column messages.error": STORED,
    "column messages.model": STORED,
    "column messages.loader": STORED,
    "column messages.parts": ENGINE,
    "column messages.sampling": ENGINE,
    "column messages.usage": "never shown: numbers",
    "column messages.timings": "never shown: numbers",
    "column messages.role": "never shown: one of three words",
    "column messages.state": "never shown: one of five words",
    "column messages.reason": "never shown: one of six words",
    "column messages.id": IDS,
    "column messages.child": IDS,
    "column messages.parent": IDS,
    "column messages.conversation": IDS,
    "column conversations.id": IDS,
    "column conversations.leaf": IDS,
    "column states.*": "never shown: what extensions keep for themselves",
    "data Access.*": "never shown: the server's own address, key and sentence",
    "data Audio.*": ENGINE,
    "data Image.*": ENGINE,
    "data Changed.point": CODE,
    "data Connected.client": "never shown: an object",
    "data Disconnected.client": "never shown: an object",
    "data Conversation.title": TITLES,
    "data Conversation.id": IDS,
    "data Conversation.leaf": IDS,
    "data Delta.text": WRITTEN,
    "data Failure.error": SAID,
    "data Failure.owner": CARDS,
    "data Failure.point": CODE,
    "data Field.name": "never shown: a name in Python",
    "data Field.*": CARDS,
    "data Finish.error": WRITTEN,
    "data Finish.cut_by": ENGINE,
    "data Flag.*": "never shown: it goes to the terminal, see test_logs.py",
    "data Argument.*": "never shown: it goes to the terminal, see test_logs.py",
    "data Command.*": "never shown: it goes to the terminal, see test_logs.py",
    "data Found.message": IDS,
    "data Found.*": TITLES,
    "data Generated.slot": CODE,
    "data JobProgress.title": SAID,
    "data JobProgress.note": SAID,
    "data JobProgress.id": CODE,
    "data JobProgress.owner": CODE,
    "data Manifest.*": CARDS,
    "data Mark.*": WRITTEN,
    "data Message.*": ENGINE,
    "data ModelInfo.name": SAID,
    "data ModelInfo.description": SAID,
    "data ModelInfo.chat_template": SAID,
    "data ModelInfo.loader": SAID,
    "data ModelInfo.path": FILES,
    "data ModelInfo.samplers": ENGINE,
    "data ModelInfo.slot": CODE,
    "data ModelInfo.special_tokens": ENGINE,
    "data Panel.title": CARDS,
    "data Panel.icon": CARDS,
    "data Panel.template": CODE,
    "data Point.*": CODE,
    "data Processor.*": ENGINE,
    "data Reasoning.text": WRITTEN,
    "data Record.id": CARDS,
    "data Record.reason": CARDS,
    "data Request.*": ENGINE,
    "data Requires.python": CARDS,
    "data Samplers.loader": CODE,
    "data Sampling.*": ENGINE,
    "data SectionChanged.name": "never shown: a name in settings.yaml that somebody asked for",
    "data SettingsChanged.id": CODE,
    "data SlotChanged.error": SAID,
    "data SlotChanged.note": SAID,
    "data SlotChanged.name": FILES,
    "data SlotChanged.slot": CODE,
    "data SlotChanged.state": "never shown: one of four words",
    "data StatusChanged.id": CARDS,
    "data StatusChanged.reason": CARDS,
    "data Step.*": "never shown: a recorded reply, for tests",
    "data StoredMessage.text": STORED,
    "data StoredMessage.raw": STORED,
    "data StoredMessage.reasoning": STORED,
    "data StoredMessage.error": STORED,
    "data StoredMessage.model": STORED,
    "data StoredMessage.loader": STORED,
    "data StoredMessage.id": IDS,
    "data StoredMessage.parent": IDS,
    "data StoredMessage.conversation": IDS,
    "data Text.text": STORED,
    "data Token.*": ENGINE,
    "data ToolCall.*": ENGINE,
    "data ToolResult.*": ENGINE,
    "data Turn.*": ENGINE,
    "data Variant.*": "never shown: it goes to pip",
    "data WorkerTable.*": "never shown: it goes to pip and to the engine",
    # what has no field of its own
    "said by ext.tell": SAID,
    "said by an exception in an action": SAID,
    "said by Refused": SAID,
    "name of a model's file": FILES,
    "name of an extension's folder": CARDS,
    "key of settings.yaml": CARDS,
    "model that was loaded last": SAID,
    "address of a page": "addresses",
}
"""Every field that holds text; `x.*` are all fields of x that have no row of their own."""


def row(field: str) -> str:
    """The row that a field has; empty if it has none."""
    kind, _, name = field.partition(" ")
    whole = f"{kind} {name.rpartition('.')[0]}.*"
    return next((TEXTS[key] for key in (field, whole, f"{kind} *") if key in TEXTS), "")
