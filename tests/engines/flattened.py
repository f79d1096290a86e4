"""A module that gets all rows as one list, as a mixture's experts do, with an adapter; run in the
engine's environment: `python flattened.py CHECKOUT ADAPTER_FOLDER` prints what may be together."""

import sys
from pathlib import Path
from types import ModuleType

import torch  # pyright: ignore[reportMissingImports]  it is in the engine's environment


def main(checkout, folder):
    sys.path.insert(0, checkout)
    for name in ("engine_kit", "transformers"):  # As a worker sees them: nothing of the server.
        package = ModuleType(f"extensions.{name}")
        package.__path__ = [str(Path(checkout) / "extensions" / name)]
        sys.modules[package.__name__] = package
    from extensions.transformers.adapters import Loras  # noqa: PLC0415
    from kernel.contract import Refused  # noqa: PLC0415

    class Mixture(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = torch.nn.Linear(64, 64, bias=False)

        def forward(self, rows):
            return self.inner(rows.flatten(0, 1)).view(rows.shape)

    def together(one, *others):
        try:
            loras.check_beside(one, others)
        except Refused:
            return False
        return True

    model, mine = Mixture(), ((folder, 1.0),)
    loras, rows = Loras(model), torch.ones(1, 3, 64)
    loras.get(folder)
    before, known = model(rows), together(mine, ())
    loras.use([mine])
    changed = not torch.equal(model(rows), before)
    kinds = [known, together(mine, ()), together((), mine), together(mine, mine), together((), ())]
    print(changed, *kinds)


if __name__ == "__main__":
    main(*sys.argv[1:])
