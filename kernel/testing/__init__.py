"""For authors of extensions: a whole server in a test, scripted models, a leak check.

`async with running("tts", model=Scripted("One. Two.")) as app: …`; docs/extending.md tells more.
The suite that every extension must pass is `kernel.testing.conformance`, and a pytest plugin.
"""

from kernel.testing.http import Answer
from kernel.testing.leaks import leaving_nothing, open_things
from kernel.testing.page import Page
from kernel.testing.running import ROOT, App, running
from kernel.testing.scripted import Options, Scripted, ScriptedGeneration, ScriptedLoader

__all__ = [
    "ROOT", "Answer", "App", "Options", "Page", "Scripted", "ScriptedGeneration",
    "ScriptedLoader", "leaving_nothing", "open_things", "running",
]  # fmt: skip
