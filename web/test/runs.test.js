/** `client.run` against a real gateway. */

import assert from 'node:assert/strict';
import { before, test } from 'node:test';

import { CountedSocket, gateway, join } from './gateway.js';

/** @type {import('../src/client.js').GatewayClient} */
let client;

before(async () => {
  client = await join(await gateway());
});

const TASK = { app: 'google/veo-3-1-fast', input: { prompt: 'A sunset' } };
const STUCK = { app: 'stuck', input: {} };

test('every update of a run, in order', async () => {
  const stream = await client.run(TASK, { stream: true });
  const updates = [];
  for await (const update of stream) updates.push(update);
  const statuses = updates.map(({ status }) => status);
  assert.deepEqual(
    [...new Set(statuses)],
    ['queued', 'running', 'preparing', 'uploading', 'completed'],
  );
  assert.deepEqual(
    updates.flatMap(({ logs = [] }) => logs),
    ['step 1', 'step 2', 'step 3'],
  );
  const progress = updates.flatMap((update) => (update.progress ? [update.progress] : []));
  assert.deepEqual(
    progress,
    [1, 2, 3].map((current) => ({ current, total: 3 })),
  );
  const partial = updates.flatMap((update) => update.partial_output ?? []);
  assert.deepEqual(partial[0], { prompt: 'A sunset', steps: 1 });
  const output = { url: 'https://example.com/8', prompt: 'A sunset' };
  assert.deepEqual(updates.at(-1), { status: 'completed', output });
  assert.equal(client.sessions.size, 0);
});

test('without a stream the outcome', async () => {
  /** @type {string[]} */
  const heard = [];
  const update = await client.run(TASK, { onUpdate: ({ status }) => heard.push(status) });
  assert.equal(update.status, 'completed');
  assert.deepEqual(update.logs, ['step 1', 'step 2', 'step 3']);
  assert.deepEqual([heard[0], heard.at(-1)], ['queued', 'completed']);
});

test('what an agent says is text', async () => {
  const { text } = await client.run({ agent: 'echo', input: 'Hello' });
  assert.equal(text, 'Hello');
});

test('a failed run', async () => {
  const task = { app: 'scripted', input: [{ fail: 'Out of luck' }] };
  await assert.rejects(client.run(task), { name: 'GatewayError', message: 'Out of luck' });
  const stream = await client.run(task, { stream: true });
  let last;
  for await (const update of stream) last = update;
  assert.deepEqual([last?.status, last?.error?.message], ['failed', 'Out of luck']);
});

test('an abort, or a timeout, stops the run', async () => {
  const controller = new AbortController();
  const stream = await client.run(STUCK, { stream: true, signal: controller.signal });
  const watcher = client.session(stream.session.id);
  const ended = watcher.waitUntil(({ run }) => run?.status === 'cancelled', { timeout_ms: 20_000 });
  const reading = async () => {
    for await (const { status } of stream) if (status === 'waiting') controller.abort();
  };
  await assert.rejects(reading(), { name: 'AbortError' });
  await ended;
  await assert.rejects(client.run(STUCK, { timeout_ms: 300 }), { name: 'TimeoutError' });
  await assert.rejects(client.run(STUCK, { signal: AbortSignal.abort() }), { name: 'AbortError' });
});

test('cancel is seen by the reader', async () => {
  const stream = await client.run(STUCK, { stream: true });
  await stream.cancel();
  const statuses = [];
  for await (const { status } of stream) statuses.push(status);
  assert.equal(statuses.at(-1), 'cancelled');
  const stopped = client.run(STUCK, {
    onUpdate: ({ status }) => {
      if (status !== 'waiting') return;
      const [session] = client.sessions.values();
      void session.stop();
    },
  });
  await assert.rejects(stopped, { code: 'client.cancelled' });
});

test('leaving the loop leaves the session, and the run goes on', async () => {
  const stream = await client.run(STUCK, { stream: true });
  for await (const { status } of stream) if (status === 'waiting') break;
  assert.equal(stream.session.status, 'closed');
  const again = client.session(stream.session.id);
  again.open();
  const { run } = await again.waitUntil(() => true);
  assert.equal(run?.status, 'waiting');
  await again.stop();
  again.close();
});

test('a session that is closed under a run ends its stream', async () => {
  const stream = await client.run(STUCK, { stream: true });
  stream.session.close();
  const reading = async () => {
    for await (const _ of stream);
  };
  await assert.rejects(reading(), { code: 'client.closed' });
});

test('streams in parallel share the socket', async () => {
  const sockets = CountedSocket.opened.length;
  const tasks = ['A', 'BB', 'CCC'].map((prompt) => ({ ...TASK, input: { prompt } }));
  const outcomes = await Promise.all(tasks.map((task) => client.run(task)));
  assert.deepEqual(
    outcomes.map(({ output }) => /** @type {{prompt: string}} */ (output).prompt),
    ['A', 'BB', 'CCC'],
  );
  assert.equal(CountedSocket.opened.length, sockets);
});

test('a refused task', async () => {
  await assert.rejects(client.run({ app: 'no name' }), { code: 'frame.malformed' });
  assert.equal(client.sessions.size, 0);
});
