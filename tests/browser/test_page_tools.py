"""The tools that a page gives the browser (WebMCP) reach the agent: in a browser that has them."""

from typing import Any

from playwright.async_api import BrowserType

# A draft: Chromium has it behind a flag.
FLAG = "--enable-features=WebMCP"

PAGE = """async () => {
  const { createClient, offerPageTools } = await import('/client/index.js');
  const register = (name, execute) => document.modelContext.registerTool({
    name, description: name, inputSchema: { type: 'object' }, execute,
  });
  const client = createClient();
  const session = client.session(undefined, { agent: 'scripted' });
  await session.create();
  await register('double', async ({ n }) => ({ twice: 2 * n }));
  await offerPageTools(session);
  await register('late', async () => 'late');
  await session.waitUntil(({ tools }) => tools.length === 2, { timeout_ms: 10_000 });
  const steps = [
    { call_tool: { name: 'double', arguments: { n: 4 } } }, { say: '{last} ' },
    { call_tool: { name: 'late' } }, { say: '{last}' },
  ];
  const run = await session.finished(await session.send(JSON.stringify(steps)));
  const text = session.text(run.id);
  client.close();
  return text;
}"""


async def test_tools_of_the_page_run_for_the_agent(
    browser_type: BrowserType, browser_type_launch_args: dict[str, Any], url: str
) -> None:
    options = dict(browser_type_launch_args)
    options["args"] = [*options["args"], FLAG]
    browser = await browser_type.launch(**options)
    try:
        page = await browser.new_page()
        await page.goto(url)
        assert await page.evaluate(PAGE) == '{"twice":8} "late"'
    finally:
        await browser.close()
