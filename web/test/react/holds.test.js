import assert from 'node:assert/strict';
import { test } from 'node:test';

import { GatewayClient } from '../../src/client.js';
import { Holds } from '../../src/react/holds.js';

const URL = 'http://gateway.test/';

class Socket {
  send() {}
  close() {}
}

// The providers' clients take the page's own WebSocket.
globalThis.WebSocket = /** @type {any} */ (Socket);

test('one client for a gateway and a token, closed a little after the last has let go', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const holds = new Holds();
  const client = holds.client(URL, 'a');
  assert.equal(holds.client(URL, 'a'), client);
  assert.notEqual(holds.client(URL, 'b'), client);
  assert.equal(client.status, 'closed');
  const first = holds.holdClient(URL, 'a');
  const second = holds.holdClient(URL, 'a');
  first();
  first();
  t.mock.timers.tick(5_000);
  assert.equal(client.status, 'connecting');
  second();
  const again = holds.holdClient(URL, 'a');
  t.mock.timers.tick(5_000);
  assert.equal(holds.client(URL, 'a'), client);
  assert.equal(client.status, 'connecting');
  again();
  t.mock.timers.tick(5_000);
  assert.equal(client.status, 'closed');
  assert.notEqual(holds.client(URL, 'a'), client);
});

test('one handle for a session, and a new one after it was closed', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const holds = new Holds();
  const client = new GatewayClient({ url: URL });
  const one = holds.holdSession(client, 's', { agent: 'a' });
  const other = holds.holdSession(client, 's', { agent: 'a' });
  assert.equal(one.session, other.session);
  one.release();
  t.mock.timers.tick(5_000);
  assert.equal(one.session.status, 'idle');
  other.release();
  t.mock.timers.tick(5_000);
  assert.equal(one.session.status, 'closed');
  assert.notEqual(holds.holdSession(client, 's', { agent: 'a' }).session, one.session);
});
