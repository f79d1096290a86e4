"""Each thing that the example does, seen from outside: a test as any author writes it."""

import asyncio

from kernel.testing import Scripted, running


async def test_its_ending_is_added_and_a_changed_setting_applies():
    async with running(
        "example", model=Scripted("Hello."), settings={"example": {"ending": "!"}}
    ) as app:
        assert await app.say() == "Hello.!"
        await app.configure("example", ending=" Bye.")
        assert await app.say() == "Hello. Bye."


async def test_it_hears_replies_and_tells_pages_and_programs():
    async with running("example", model=Scripted("Hello.")) as app:
        page = await app.open()
        await page.until("Heard 0")
        await app.say()
        await page.until("Heard 1")
        answer = await app.fetch("/ext/example/heard", who="key")
        assert answer.json() == {"heard": 1, "notes": ["STOP"]}
        assert (await app.fetch("/ext/example/heard", who="nobody")).status == 401


async def test_a_button_asks_the_model_and_its_answer_is_told():
    async with running("example", "chat", model=Scripted("Thread.")) as app:
        page = app.page()
        await page.act("example.ask", about="spinning")
        await page.until("Thread.")


async def test_without_a_model_the_button_says_so():
    async with running("example", "chat") as app:
        page = app.page()
        await page.act("example.ask", about="spinning")
        await page.until("No model is loaded")


async def test_a_job_shows_its_bar_and_can_be_cancelled():
    async with running("example", settings={"example": {"steps": 1000}}) as app:
        page = await app.open()
        await page.act("example.start")
        await page.until("Counting slowly.*at 1")
        await page.act("kernel.cancel_job", id=next(iter(app.kernel.jobs.running)))
        await app.until(lambda: not app.kernel.jobs.running)


async def test_what_it_waits_for_ends_with_it():
    async with running("example") as app:
        await app.toggle("example", on=False)
        assert not [task for task in asyncio.all_tasks() if "example" in task.get_name()]
