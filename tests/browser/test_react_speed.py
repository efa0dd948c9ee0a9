"""Ten thousand deltas into one React page: no text is lost. How it felt is logged and kept."""

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
    await chat.field.press("Enter")
    await expect(chat.texts.last).to_contain_text(words[-1].strip(), timeout=120_000)
    told = await lab.page.evaluate(
        "() => ({...window.lab.speed, ms: performance.now() - window.lab.speed.begun})"
    )
    figures = {
        "deltas": told["deltas"],
        "seconds": round(told["ms"] / 1_000, 1),
        "frames per second": round(told["frames"] / told["ms"] * 1_000, 1),
        "longest frame ms": round(told["worst"]),
        "long tasks ms": sorted(told["long"]),
    }
    SHOTS.mkdir(parents=True, exist_ok=True)
    (SHOTS / "react-speed.json").write_text(json.dumps(figures, indent=2))
    _log.info("%s", figures)
    shown = await chat.texts.last.inner_text()
    assert shown.split() == text.split()
    await chat.idle()
