"""A request as the text that the engine reads."""

import msgspec

from kernel.api import Model, Request


async def rendered(model: Model, request: Request) -> str:
    """The prompt that the engine of a model makes of a request's messages; raises what it says."""
    return await model.call(
        "template",
        messages=msgspec.to_builtins(request.messages or ()),
        tools=[dict(tool) for tool in request.tools],
        continue_=request.continue_,
        template=request.template,
        template_options=dict(request.template_options),
    )
