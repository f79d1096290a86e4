"""How long the record of durable work stays: as long as somebody still wants it."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from kernel.bus import Bus
from kernel.contract import Refused
from kernel.jobs import Job, JobKind, JobProgress, Jobs, Kept


class Fetch(JobKind, frozen=True):
    url: str


async def hangs(job: Job, params: Any) -> None:
    await asyncio.sleep(3600)


async def fails(job: Job, params: Any) -> None:
    raise Refused("There is no such file. Look for another.")


async def succeeds(job: Job, params: Any) -> str:
    return params.url


def begun(folder: Path, run: Any) -> Job:
    return Jobs(Bus(), folder).start_durable("a", "a.fetch", Kept("Fetch", Fetch("x")), run)


def records(folder: Path) -> list[str]:
    return [file.name for file in folder.iterdir()]


@pytest.mark.parametrize("late", [True, False], ids=["at work", "before its first step"])
@pytest.mark.parametrize("by_hand", [True, False], ids=["by a person", "with the server"])
async def test_what_a_person_gave_up_is_gone_and_what_ended_with_the_server_stays(
    tmp_path: Path, by_hand: bool, late: bool
):
    job = begun(tmp_path, hangs)
    assert records(tmp_path) == ["a.fetch-1.json"]
    if late:
        await asyncio.sleep(0)
    (job.cancel if by_hand else job.task.cancel)()
    with pytest.raises(Refused, match="was cancelled"):
        await job.done
    await asyncio.gather(job.task, return_exceptions=True)
    assert records(tmp_path) == ([] if by_hand else ["a.fetch-1.json"])


@pytest.mark.parametrize("run", [fails, succeeds])
async def test_whoever_hears_of_the_end_finds_no_record(tmp_path: Path, run: Any):
    job = begun(tmp_path, run)
    queue, dispose = job._jobs._bus.open(JobProgress)
    while (await queue.get()).state == "running":
        pass
    assert records(tmp_path) == []
    dispose()


async def test_a_record_that_cannot_be_read_waits_and_one_that_is_none_is_set_aside(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    (tmp_path / "a.fetch-1.json").mkdir()
    (tmp_path / "a.fetch-2.json").write_text("{")
    assert Jobs(Bus(), tmp_path).kept("a.fetch", Fetch) == []
    assert sorted(records(tmp_path)) == ["a.fetch-1.json", "a.fetch-2.json.damaged"]
    assert "a.fetch-1.json cannot be read: Is a directory. What it tells of waits." in caplog.text
