"""How much asking costs beside waiting: calls in a second, and memory."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]

REPOSITORY = Path(__file__).resolve().parents[3]
AT_ONCE, SECONDS, COUNT = 256, 0.2, 8_000
IDEAL = AT_ONCE / SECONDS

PEAK = """
def peak():  # MiB of this process alone; what getrusage says may be its parent's
    with open("/proc/self/status") as status:
        return int(status.read().split("VmHWM:")[1].split()[0]) / 1024
"""

ASK = """
import json, sys, time
from isthmus.core.chat import AskConfig, Journal, ask
from isthmus.core.config import create
from tests.core.chat.talks import request
url, journal, count, at_once = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
model = create("chat_model", "openai", model="m", base_url=url)
moments = []
with Journal(journal) as journal:
    for settled in ask(model, map(request, range(count)), journal, AskConfig(concurrency=at_once)):
        assert settled.reply is not None
        moments.append(time.monotonic())
said = {"moments": moments[::100], "cpu": time.process_time(), "torch": "torch" in sys.modules}
print(json.dumps(said | {"peak": peak()}))
"""

REMEMBER = """
import sys
from isthmus.core.chat import AskConfig, Journal, ask
from tests.core.chat.talks import Toy, request
class Plain(Toy, name="toy"):
    async def reply(self, request):
        self.asked.clear()
        return await super().reply(request)
with Journal(sys.argv[1]) as journal:
    for _ in range(2):
        model, count = Plain(Plain.Config()), 0
        asked = map(request, range(158_000))
        for settled in ask(model, asked, journal, AskConfig(concurrency=256)):
            assert settled.reply is not None
            count += 1
        assert count == 158_000
print(peak())
"""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A server in a process of its own that answers after 200 ms."""
    command = [sys.executable, "-m", "tests.loopback", str(SECONDS)]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield server.stdout.readline().strip()
        server.terminate()


def busy_elsewhere(before: list[int], after: list[int], ours: float) -> float:
    """Share of the machine's time that was spent on what is not `ours` (seconds)."""
    spent = [b - a for a, b in zip(before, after, strict=True)]
    hertz = 100
    return max(0.0, (sum(spent) - spent[3] - spent[4]) / hertz - ours) / (sum(spent) / hertz)


def processor_time() -> list[int]:
    """User, nice, system, idle, iowait, ... of all processors, in hundredths of seconds."""
    return [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]


def test_calls_come_at_85_percent_of_the_ideal_rate(url: str, tmp_path: Path) -> None:
    """From the second round of calls on: starting up is not what is measured."""
    before, children = processor_time(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            PEAK + ASK,
            url,
            str(tmp_path / "j.sqlite"),
            str(COUNT),
            str(AT_ONCE),
        ],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    moments = said["moments"]
    first, last = -(-AT_ONCE // 100), len(moments) - 1
    rate = (last - first) * 100 / (moments[last] - moments[first])
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    ours = now.ru_utime + now.ru_stime - children.ru_utime - children.ru_stime
    others = busy_elsewhere(before, processor_time(), ours + COUNT * 0.0003)  # the server's part
    print(f"{rate:.0f} calls/s, {rate / IDEAL:.1%} of {IDEAL:.0f}; others have {others:.0%}")
    print(f"{said['cpu'] / COUNT * 1000:.2f} ms of a processor for each, {said['peak']:.0f} MiB")
    assert not said["torch"]
    assert said["peak"] < 200
    if rate < 0.85 * IDEAL and others > 0.2:
        pytest.skip(f"others have {others:.0%} of this machine: {rate / IDEAL:.0%} of the ideal")
    assert rate >= 0.85 * IDEAL


def test_158_000_requests_take_less_than_500_mib(tmp_path: Path) -> None:
    """Asked, and then read from the journal again; the whole process, its libraries with it."""
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", PEAK + REMEMBER, str(tmp_path / "j.sqlite")],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    print(f"{float(done.stdout):.0f} MiB, {time.monotonic() - start:.0f} s")
    assert float(done.stdout) < 500
