import assert from 'node:assert/strict';
import { test } from 'node:test';

test('the public names', async () => {
  const names = Object.keys(await import('../src/index.js')).sort();
  assert.deepEqual(names, [
    'Connection',
    'GatewayClient',
    'GatewayError',
    'SUBPROTOCOL',
    'Session',
    'Subscription',
    'apply',
    'emptyState',
    'fold',
  ]);
});
