/** A token that ends, and the callback that renews it, against a real gateway. */

import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { before, test } from 'node:test';

import { GatewayClient } from '../src/index.js';
import { CountedSocket, gateway, join } from './gateway.js';

const SECRET = 'x'.repeat(32);

/** @type {string} */
let url;

before(async () => {
  url = await gateway('--auth', 'jwt', '--auth-secret', SECRET, '--detail', 'full');
});

/** @param {unknown} value */
function encoded(value) {
  return Buffer.from(JSON.stringify(value)).toString('base64url');
}

/** @param {number} ttl_s */
function token(ttl_s) {
  const now = Math.floor(Date.now() / 1000);
  const claims = { sub: 'ann', tenant: 'acme', aud: 'agent-gateway', iat: now, exp: now + ttl_s };
  const said = `${encoded({ alg: 'HS256', typ: 'JWT' })}.${encoded(claims)}`;
  return `${said}.${createHmac('sha256', SECRET).update(said).digest('base64url')}`;
}

test('the callback is asked again before the token ends, and the socket stays', async () => {
  let asked = 0;
  /** @type {() => void} */
  let renewed = () => {};
  const again = new Promise((resolve) => (renewed = () => resolve(undefined)));
  const sockets = CountedSocket.opened.length;
  const client = await join(url, {
    token: async () => {
      if (++asked === 2) renewed();
      return token(asked === 1 ? 3 : 600);
    },
  });
  assert.deepEqual(client.welcome?.principal, { tenant: 'acme', subject: 'ann' });
  await again;
  const { sessions } = await client.list({ timeout_ms: 20_000 });
  assert.deepEqual(sessions, []);
  assert.equal(CountedSocket.opened.length, sockets + 1);
});

test('a wrong token is final, and every command says so', async () => {
  const client = new GatewayClient({ url, WebSocket: CountedSocket, apiKey: 'wrong' });
  client.connect();
  await assert.rejects(client.ready({ timeout_ms: 20_000 }), { code: 'client.closed' });
  assert.equal(client.connection.code, 4401);
  await assert.rejects(client.list(), { code: 'client.closed' });
});

test('tickets instead of a token: one for each socket, and no hello with a secret', async () => {
  let bought = 0;
  const ticket = async () => {
    bought++;
    const headers = { Authorization: `Bearer ${token(600)}` };
    const answer = await fetch(`${url}/v1/tickets`, { method: 'POST', headers });
    return (await answer.json()).ticket;
  };
  const sockets = CountedSocket.opened.length;
  const client = await join(url, { ticket });
  assert.deepEqual(client.welcome?.principal, { tenant: 'acme', subject: 'ann' });
  assert.deepEqual([bought, CountedSocket.opened.length], [1, sockets + 1]);
  const welcome = client.welcome;
  CountedSocket.opened.at(-1)?.close();
  await client.list({ timeout_ms: 20_000 });
  assert.notEqual(client.welcome, welcome);
  assert.equal(bought, 2);
});
