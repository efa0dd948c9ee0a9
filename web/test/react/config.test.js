import assert from 'node:assert/strict';
import { test } from 'node:test';

import { planOf, shapeOf, toolsOf } from '../../src/react/config.js';
import { string, tool } from '../../src/tool.js';

test('an agent is named in any spelling', () => {
  for (const config of [
    { agent: 'a' },
    { agentConfig: { agent: 'a' } },
    { agentConfig: { core_app_ref: 'a' } },
    { agentConfig: { core_app: { ref: 'a' } } },
  ]) {
    assert.equal(planOf(config).options.agent, 'a');
  }
  assert.equal(planOf({}).options.agent, 'default');
  assert.equal(planOf({ chatId: 's1' }).session, 's1');
  assert.deepEqual(planOf({ agentConfig: { name: 'Helper' } }).options.metadata, {
    title: 'Helper',
  });
});

test('handlers that stand apart belong to the tool of their name', async () => {
  const clientToolHandlers = new Map([
    ['scan', (/** @type {any} */ { at }) => `scanned ${at}`],
    ['more', () => 'more'],
  ]);
  const tools = toolsOf({ tools: [tool('scan').param('at', string())], clientToolHandlers });
  assert.deepEqual(
    tools.map(({ name }) => name),
    ['scan', 'more'],
  );
  assert.equal(await tools[0].handler?.(/** @type {any} */ ({ args: { at: 'h1' } })), 'scanned h1');
});

test('another handler alone is nothing the gateway must hear of', () => {
  const scan = tool('scan').param('at', string());
  const one = toolsOf({ tools: [scan.handler(() => 1)] });
  const other = toolsOf({ tools: [scan.handler(() => 2)] });
  assert.equal(shapeOf(one), shapeOf(other));
  assert.notEqual(shapeOf(one), shapeOf(toolsOf({ tools: [scan] })));
  assert.notEqual(shapeOf(one), shapeOf(toolsOf({ tools: [scan.describe('x').handler(() => 1)] })));
});
