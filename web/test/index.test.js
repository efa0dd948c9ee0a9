import assert from 'node:assert/strict';
import { test } from 'node:test';

test('the public names', async () => {
  const names = Object.keys(await import('../src/index.js')).sort();
  assert.deepEqual(names, [
    'Agent',
    'Connection',
    'GatewayClient',
    'GatewayError',
    'RunStream',
    'SUBPROTOCOL',
    'Session',
    'StreamManager',
    'Subscription',
    'ToolBuilder',
    'apply',
    'array',
    'boolean',
    'createClient',
    'emptyState',
    'enumOf',
    'fold',
    'integer',
    'number',
    'object',
    'offerPageTools',
    'optional',
    'string',
    'textOf',
    'tool',
  ]);
});
