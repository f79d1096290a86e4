"""What is told of a model's memory before it is loaded is what its worker then takes."""

import sys
from pathlib import Path

import pytest

from tests.engines.weighed import CASES, Case, model, taken, told

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(sys.platform != "linux", reason="what a process takes is told by Linux"),
]
CLOSE = 0.08
"""The share by which the two may differ."""
QUICK = 512
"""Tokens; with a longer context the prompt that fills it takes long."""


def cases(quick: bool) -> list[Case]:
    """Those of the smallest model with short contexts, or the others."""

    def short(case: Case) -> bool:
        return case.options.get("context_length", QUICK) <= QUICK and case.model == "260k"

    return [case for case in CASES if short(case) is quick]


async def compare(case: Case, folder: Path, environments: Path) -> None:
    path = model(case, folder)
    says, takes = told(case, path), await taken(case, path, environments)
    print(f"{case.name}: told {says / 1e6:.0f} MB, taken {takes / 1e6:.0f} MB")
    assert says == pytest.approx(takes, rel=CLOSE)


@pytest.mark.parametrize("case", cases(quick=True), ids=lambda case: case.name)
async def test_what_is_told_is_what_is_taken(case: Case, tmp_path: Path, environments_dir: Path):
    await compare(case, tmp_path, environments_dir)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("case", cases(quick=False), ids=lambda case: case.name)
async def test_and_of_larger_models(case: Case, tmp_path: Path, environments_dir: Path):
    await compare(case, tmp_path, environments_dir)
