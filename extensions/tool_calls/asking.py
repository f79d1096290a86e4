"""What a model is asked where tools are offered, or were called before."""

from msgspec import structs

from kernel.api import Draft, ModelInfo

from .choosing import offered
from .mending import NINE, mended, with_ids_of_nine
from .telling import in_words, knows_calls, knows_tools, told


def asked(draft: Draft, info: ModelInfo | None, *, tell_all: bool = True) -> Draft:
    """The draft with the tools that may be called, and old calls as the template takes them."""
    request, turn = draft.request, draft.turn
    if request.messages is None:
        return draft
    template = request.template or (info.chat_template if info else "")
    messages = mended(request.messages)
    if not knows_calls(template):
        messages = in_words(messages)
    elif NINE.search(template):
        messages = with_ids_of_nine(messages)
    tools = turn.tools if offered(turn) else ()
    if tools and not (knows_tools(template) and info and "tools" in info.capabilities):
        messages, tools = told(messages, tools) if tell_all else messages, ()
    if messages == request.messages and tools == request.tools:
        return draft
    changed = structs.replace(request, messages=messages, tools=tools)
    return structs.replace(draft, request=changed)


def held(draft: Draft, grammar: str) -> Draft:
    """The draft, its reply held to a form."""
    return structs.replace(draft, request=structs.replace(draft.request, grammar=grammar))


def forced(draft: Draft, grammar: str) -> Draft:
    """The draft, its reply held to a call; a thought has no place in one."""
    options = {"enable_thinking": False, "thinking": False, "thinking_budget": 0}
    quiet = {**draft.request.template_options, **options}
    request = structs.replace(draft.request, template_options=quiet)
    return held(structs.replace(draft, request=request), grammar)
