"""How many calls are let through."""

from __future__ import annotations

import asyncio

from isthmus.core.chat.gate import Gate


def test_no_more_than_the_limit_are_inside() -> None:
    async def check() -> None:
        gate = Gate(3)
        inside = most = 0

        async def call() -> None:
            nonlocal inside, most
            await gate.enter()
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0)
            inside -= 1
            gate.leave()

        await asyncio.gather(*(call() for _ in range(50)))
        assert most == 3
        assert gate.inside == 0

    asyncio.run(check())


def test_an_overload_halves_the_limit_once_for_all_calls_that_were_under_way() -> None:
    async def check() -> None:
        gate = Gate(16)
        entered = [await gate.enter() for _ in range(16)]
        for mark in entered:
            gate.overloaded(mark)
            gate.leave()
        assert gate.limit == 8
        gate.overloaded(await gate.enter())
        assert gate.limit == 4
        for _ in range(9):
            gate.overloaded(gate._halved)
        assert gate.limit == 1

    asyncio.run(check())


def test_the_limit_grows_by_one_in_a_round_of_replies_up_to_the_most() -> None:
    gate = Gate(16)
    gate.overloaded(0)
    for _ in range(8):
        gate.answered()
    # 8 + 1/8 + 1/8.125 + ...: by hand, just short of 9
    assert 8.9 < gate.limit < 9
    for _ in range(1000):
        gate.answered()
    assert gate.limit == 16


def test_a_cancelled_wait_passes_its_place_on() -> None:
    async def check() -> None:
        gate = Gate(1)
        await gate.enter()
        first, second = asyncio.create_task(gate.enter()), asyncio.create_task(gate.enter())
        await asyncio.sleep(0)
        gate.leave()
        first.cancel()
        assert await asyncio.wait_for(second, 1) == 0

    asyncio.run(check())
