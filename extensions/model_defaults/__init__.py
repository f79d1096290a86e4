"""Has a preset and an instruction template come with each model."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from extensions.models.api import BESIDE, MODELS, Beside, ModelFile, Models, shown
from extensions.parameters.api import PARAMETERS, STANDARDS, Parameters
from extensions.prompts.api import PROMPTS, TEMPLATES, Prompts
from extensions.prompts.api import Beside as Template
from kernel.api import Extension, Field, ModelInfo, Refused

PRESET, TEMPLATE = "preset", "instruction_template"
"""What they are called in config-user.yaml, and in the form."""
METADATA = "Custom (obtained from model metadata)"
"""What text-generation-webui writes for the template that a model brings."""


class Defaults:
    """What is said of a model: by hand, or in the files beside the models."""

    def __init__(
        self, ext: Extension[Any], models: Models, parameters: Parameters, prompts: Prompts
    ) -> None:
        self._ext, self._models = ext, models
        self._parameters, self._prompts = parameters, prompts

    def preset(self, info: ModelInfo) -> str:
        """The preset that is saved beside a model."""
        return self._models.said(Path(info.path or info.name).name, PRESET)[0]

    def template(self, info: ModelInfo) -> Template | None:
        """The template that is saved beside it; families of models are a mild word."""
        name, shipped = self._models.said(Path(info.path or info.name).name, TEMPLATE)
        return Template(name, shipped) if name and name != METADATA else None

    async def fields(self, file: ModelFile) -> Sequence[Field]:
        """The rows of the form."""
        presets = await self._parameters.presets()
        templates = await self._ext.thread(self._prompts.names)
        return (
            self._row(
                PRESET,
                "Preset",
                "Chosen when this model comes in place of another; none: what is chosen stays.",
                self._parameters.standard(shown(file)) or self._said(file, PRESET),
                ("None", *presets),
            ),
            self._row(
                TEMPLATE,
                "Instruction template",
                "How a conversation becomes a prompt, unless it has a template of its own.",
                self._prompts.set_for(shown(file)) or self._said(file, TEMPLATE),
                ("The model's own", *templates),
            ),
        )

    async def save(self, file: ModelFile, values: Mapping[str, Any]) -> None:
        """Keep what was chosen in the form beside the model, and nowhere else; raises Refused."""
        name, now = shown(file), {row.name: row.value for row in await self.fields(file)}
        said = {what: str(word) for what, word in values.items() if word != now[what]}
        if (preset := said.get(PRESET)) is not None:
            self._known(preset, await self._parameters.presets(), "preset")
            await self._ext.thread(self._models.put, file.name, PRESET, preset)
            await self._parameters.prefer(name, "")
        if (template := said.get(TEMPLATE)) is not None:
            names = await self._ext.thread(self._prompts.names)
            self._known(template, names, "instruction template")
            await self._ext.thread(self._models.put, file.name, TEMPLATE, template)
            await self._ext.thread(self._prompts.choose_for, name, "")

    # --- inside ------------------------------------------------------------------------

    def _said(self, file: ModelFile, what: str) -> str:
        name, mild = self._models.said(file.name, what)
        return "" if mild or name == METADATA else name

    def _known(self, name: str, names: Sequence[str], what: str) -> None:
        if name and name not in names:
            raise Refused(f"There is no {what} “{name}”. Choose another one.")

    def _row(self, name: str, label: str, help: str, value: str, names: Sequence[str]) -> Field:
        nothing, *rest = names
        gone = [value] if value and value not in rest else []
        return Field(
            name,
            label,
            help,
            "choice",
            value,
            "",
            bool(value),
            "one of the list",
            (("", nothing), *((each, each) for each in [*rest, *gone])),
        )


async def setup(ext: Extension[Any]) -> None:
    parameters, prompts = ext.one(PARAMETERS), ext.one(PROMPTS)
    defaults = Defaults(ext, ext.one(MODELS), parameters, prompts)
    ext.add(BESIDE, Beside(defaults.fields, defaults.save))
    template: Callable[[ModelInfo], Template | None] = defaults.template
    ext.add(STANDARDS, defaults.preset)
    ext.add(TEMPLATES, template)
