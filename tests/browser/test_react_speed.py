"""Ten thousand deltas into one React page: no text is lost, hardly a task of the page takes long.

A task's length is the CPU time that the page's thread spent in it: what others on the machine take
is not the page's. How it felt (frames per second, long tasks by the clock) is logged and kept.
"""

import json
import logging
from pathlib import Path

from playwright.async_api import Page, expect

from tests.browser.react_lab import PAGES, SHOTS, Lab, build
from tests.conftest import StartGateway

_log = logging.getLogger(__name__)

DELTAS = 10_000
LINE = 20
"""Words in a paragraph."""

LONG_MS = 100
FEW = 3
"""So many of the thousands of tasks may take so long: when the machine itself was held up."""

TASK = "ThreadControllerImpl::RunTask"

MEASURE = """() => {
  const told = { frames: 0, deltas: 0, long: [], begun: performance.now(), worst: 0 };
  window.lab.speed = told;
  new PerformanceObserver((list) => {
    for (const { duration } of list.getEntries()) told.long.push(Math.round(duration));
  }).observe({ type: 'longtask' });
  let last = performance.now();
  const frame = (now) => {
    told.frames += 1;
    told.worst = Math.max(told.worst, now - last);
    last = now;
    requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
}"""

LISTEN = """() => {
  const [session] = window.lab.client.sessions.values();
  session.onEvent(({ type }) => type === 'message.delta' && (window.lab.speed.deltas += 1));
}"""


def tasks_ms(trace: bytes) -> list[float]:
    """The CPU time of every task of the page's main thread, in milliseconds."""
    events = json.loads(trace)["traceEvents"]
    main = {
        (event["pid"], event["tid"])
        for event in events
        if event["name"] == "thread_name" and event["args"]["name"] == "CrRendererMain"
    }
    return [
        event["tdur"] / 1_000
        for event in events
        if event["name"] == TASK and "tdur" in event and (event["pid"], event["tid"]) in main
    ]


async def test_ten_thousand_deltas(gateway: StartGateway, page: Page, tmp_path: Path) -> None:
    served = await gateway("--agents", "scripted", "--coalesce-ms", "0")
    lab = Lab(page, await build(PAGES, tmp_path / "pages"))
    await lab.open(served.http_url, "solo")
    chat = lab.chat()
    await chat.script({"say": "Ready."})
    await chat.answered("Ready.")
    words = [f"w{n:05} " if n % LINE else f"w{n:05}\n\n" for n in range(1, DELTAS + 1)]
    text = "".join(words)
    steps = json.dumps([{"say": text, "chunk": 7, "interval_ms": 1}])
    await lab.page.evaluate(MEASURE)
    await lab.page.evaluate(LISTEN)
    await chat.field.fill(steps)
    browser = page.context.browser
    assert browser is not None
    await browser.start_tracing(page=page, categories=["toplevel"])
    await chat.field.press("Enter")
    await expect(chat.texts.last).to_contain_text(words[-1].strip(), timeout=120_000)
    told = await lab.page.evaluate(
        "() => ({...window.lab.speed, ms: performance.now() - window.lab.speed.begun})"
    )
    tasks = tasks_ms(await browser.stop_tracing())
    figures = {
        "deltas": told["deltas"],
        "seconds": round(told["ms"] / 1_000, 1),
        "frames per second": round(told["frames"] / told["ms"] * 1_000, 1),
        "longest frame ms": round(told["worst"]),
        "long tasks by the clock ms": sorted(told["long"]),
        "longest task of the CPU ms": round(max(tasks), 1),
        "CPU of the page per delta µs": round(sum(tasks) / DELTAS * 1_000),
    }
    SHOTS.mkdir(parents=True, exist_ok=True)
    (SHOTS / "react-speed.json").write_text(json.dumps(figures, indent=2))
    _log.info("%s", figures)
    shown = await chat.texts.last.inner_text()
    assert shown.split() == text.split()
    assert len(tasks) > told["frames"] / 2  # they were recorded
    long = [task for task in tasks if task >= LONG_MS]
    assert len(long) <= FEW, long
    await chat.idle()
