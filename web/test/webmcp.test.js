/** The page's own tools, from browsers of both dialects. */

import assert from 'node:assert/strict';
import { before, test } from 'node:test';

import { offerPageTools, pageTools } from '../src/webmcp.js';
import { textOf } from '../src/whole.js';
import { gateway, join, script } from './gateway.js';

const SCHEMA = { type: 'object', properties: { n: { type: 'number' } } };

/** A browser's `modelContext`: `texts` is how some take arguments and give schemas. */
class ModelContext extends EventTarget {
  /** @type {any[]} */
  tools = [];
  /** @type {AbortSignal | undefined} */
  signal;

  /** @param {boolean} texts */
  constructor(texts) {
    super();
    this.texts = texts;
  }

  /** @param {any} tool */
  registerTool(tool) {
    const { inputSchema } = tool;
    this.tools.push({
      ...tool,
      inputSchema: this.texts ? JSON.stringify(inputSchema) : inputSchema,
    });
    this.dispatchEvent(new Event('toolchange'));
  }

  async getTools() {
    return this.tools;
  }

  /** @param {any} tool @param {any} input @param {{signal?: AbortSignal}} [options] */
  async executeTool(tool, input, options) {
    this.signal = options?.signal;
    const args = this.texts ? JSON.parse(`${input}`) : JSON.parse(JSON.stringify(input));
    return JSON.stringify(await tool.execute(args));
  }
}

/** @type {import('../src/client.js').GatewayClient} */
let client;

before(async () => {
  client = await join(await gateway());
});

for (const texts of [false, true]) {
  test(`tools of a browser that speaks ${texts ? 'texts' : 'objects'} reach the agent`, async () => {
    const context = new ModelContext(texts);
    const double = { name: 'double', description: 'Doubles', inputSchema: SCHEMA };
    context.registerTool({
      ...double,
      execute: (/** @type {{n: number}} */ { n }) => ({ twice: 2 * n }),
    });
    const session = client.session(undefined, { agent: 'scripted' });
    await session.create();
    const leave = await offerPageTools(session, { document: { modelContext: context } });
    assert.deepEqual(
      session.options.tools?.map(({ name }) => name),
      ['double'],
    );
    const call = { call_tool: { name: 'double', arguments: { n: 4 } } };
    await session.finished(await session.send(script(call, { say: '{last}' })));
    assert.equal(textOf(/** @type {any} */ (session.state?.messages.at(-1))), '{"twice":8}');
    assert.ok(context.signal);
    const { parameters } = /** @type {any} */ (session.state?.tools[0]);
    assert.deepEqual(parameters, SCHEMA);
    context.registerTool({ name: 'late', inputSchema: SCHEMA, execute: () => 1 });
    await session.waitUntil(({ tools }) => tools.length === 2, { timeout_ms: 10_000 });
    leave();
  });
}

test('hints of a tool, and a schema that is none', async () => {
  const context = new ModelContext(false);
  context.registerTool({ name: 'read', annotations: { readOnlyHint: true }, execute: () => 1 });
  context.registerTool({ name: 'buy', annotations: { consequentialHint: true }, execute: () => 1 });
  const [read, buy] = await pageTools({ navigator: { modelContext: context } });
  assert.deepEqual([read.idempotent, buy.approval], [true, true]);
  assert.deepEqual(read.parameters, { type: 'object', properties: {} });
});

test('a browser without it', async () => {
  assert.deepEqual(await pageTools({}), []);
  assert.deepEqual(await pageTools({ document: { modelContext: {} } }), []);
  const session = client.session();
  (await offerPageTools(session, {}))();
  assert.equal(session.options.tools, undefined);
});
