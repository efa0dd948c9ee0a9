/** Session handles against a real gateway: what a page builds its own chat on. */

import assert from 'node:assert/strict';
import { before, test } from 'node:test';

import { StreamManager, textOf, tool } from '../src/index.js';
import { CountedSocket, gateway, join, script } from './gateway.js';

/** @typedef {import('../src/session.js').Session} Session */

/** @type {string} */
let url;
/** @type {import('../src/client.js').GatewayClient} */
let client;

before(async () => {
  url = await gateway();
  client = await join(url);
});

/** @param {import('../src/session.js').SessionOptions} [options] */
async function opened(options) {
  const session = client.session(undefined, { agent: 'scripted', ...options });
  await session.create();
  return session;
}

/**
 * @param {Session} session
 * @param {unknown[]} steps
 */
async function done(session, ...steps) {
  return session.finished(await session.send(script(...steps)));
}

/** @param {Session} session */
function texts(session) {
  return (session.state?.messages ?? []).map((message) => textOf(message));
}

test('events, one by one and without a hole', async () => {
  const session = await opened();
  /** @type {import('../src/types.js').SessionEvent[]} */
  const seen = [];
  const reading = (async () => {
    for await (const event of session) {
      if (event.type === 'reset') continue;
      seen.push(/** @type {import('../src/types.js').SessionEvent} */ (event));
      if (event.type === 'run.completed') break;
    }
  })();
  await done(session, { say: 'Hello' }, { log: 'x' });
  await reading;
  const seqs = seen.map(({ seq, from_seq = seq }) => [from_seq, seq]);
  seqs.slice(1).forEach(([first], index) => assert.equal(first, seqs[index][1] + 1));
  assert.ok(seen.some(({ type }) => type === 'message.delta'));
});

test('whole messages as they grow', async () => {
  const session = await opened();
  const versions = [];
  const updates = session.updates();
  const sent = session.send(script({ say: 'abcdefghij', chunk: 2, interval_ms: 5 }));
  for await (const message of updates) {
    if (message.role !== 'assistant') continue;
    versions.push(message.text);
    if (message.done) break;
  }
  await sent;
  assert.equal(versions.at(-1), 'abcdefghij');
  versions.forEach((version) => assert.ok('abcdefghij'.startsWith(version)));
});

test('a signal or a timeout ends an iteration', async () => {
  const session = await opened();
  const controller = new AbortController();
  const waiting = session.events({ signal: controller.signal }).next();
  controller.abort();
  await assert.rejects(waiting, { name: 'AbortError' });
  const all = async () => {
    for await (const _ of session.updates({ timeout_ms: 20 }));
  };
  await assert.rejects(all(), { name: 'TimeoutError' });
  await assert.rejects(
    session.waitUntil(() => false, { timeout_ms: 1 }),
    { name: 'TimeoutError' },
  );
});

test("one's own message is shown before it is stored", async () => {
  const session = await opened();
  const before = session.getSnapshot();
  assert.equal(session.getSnapshot(), before);
  const sent = session.send(script({ say: 'Hi' }));
  /** @type {string[]} */
  const statuses = [];
  const leave = session.subscribe(() => {
    const { messages } = session.getSnapshot();
    statuses.push(messages[0]?.status);
  });
  const { message } = await sent;
  await session.finished(await sent);
  await new Promise((resolve) => {
    const stop = session.subscribe(() => {
      if (session.getSnapshot().messages.length < 2) return;
      stop();
      resolve(undefined);
    });
    session.notify();
  });
  leave();
  const { messages } = session.getSnapshot();
  assert.deepEqual([messages[0].id, messages[0].status], [message, 'complete']);
  assert.deepEqual(session.outgoing, []);
  assert.ok(statuses.every((status) => status === 'sending' || status === 'complete'));
});

test('a refused message says so, and is sent again or dropped', async () => {
  const session = await opened();
  const busy = await session.send(script({ sleep_ms: 60_000 }));
  await assert.rejects(session.send(script({ say: 'Me too' })), { code: 'session.busy' });
  const refused = session.outgoing.at(-1);
  assert.ok(refused);
  assert.equal(refused.message.status, 'refused');
  assert.equal(refused.message.error?.code, 'session.busy');
  await session.stop({ run: busy.run });
  await session.finished(busy);
  await session.finished(await session.resend(refused.message.id));
  assert.equal(texts(session).at(-1), 'Me too');
  await assert.rejects(session.send('x', { after: 'm_none' }), { code: 'message.unknown' });
  session.discard(session.outgoing.at(-1)?.message.id ?? '');
  assert.ok(!session.outgoing.some(({ message }) => message.status === 'refused'));
  await assert.rejects(session.resend('m_none'), { code: 'message.unknown' });
});

test('a message that waits is shown as queued', async () => {
  const session = await opened();
  const first = await session.send(script({ approve: { title: 'Wait' } }));
  const second = await session.send(script({ say: 'Later' }), { if_busy: 'enqueue' });
  await session.waitUntil(({ queue }) => queue.length === 1);
  session.notify();
  await new Promise((resolve) => setTimeout(resolve, 50));
  const shown = session.getSnapshot().messages.at(-1);
  assert.deepEqual([shown?.id, shown?.status], [second.message, 'queued']);
  await session.waitUntil(({ run }) => run?.status === 'waiting');
  await session.approve(session.pendingApprovals[0].id);
  await session.finished(first);
  assert.equal((await session.finished(second))?.status, 'completed');
});

test('steer, regenerate, edit', async () => {
  const session = await opened();
  await done(session, { say: 'First' });
  const second = await session.send(script({ say: 'Second' }));
  await session.finished(second);
  await session.finished(await session.regenerate());
  assert.deepEqual(texts(session).slice(2), [script({ say: 'Second' }), 'Second']);
  await session.finished(await session.edit(second.message, script({ say: 'Other' })));
  assert.deepEqual(texts(session).slice(1), ['First', script({ say: 'Other' }), 'Other']);
  const [first] = session.state?.messages ?? [];
  await assert.rejects(session.edit(first.id, 'x'), { code: 'client.usage' });
  await assert.rejects(session.edit('m_none', 'x'), { code: 'message.unknown' });
  await assert.rejects(session.regenerate('m_none'), { code: 'message.unknown' });
  const live = await session.send(script({ approve: { title: 'Go on?' } }));
  const steering = await session.steer('Quick!');
  assert.equal(steering.run, live.run);
  await session.stop({ run: live.run });
});

test('a run with an input of its own', async () => {
  const session = await opened();
  const started = await session.run([{ output: { n: 1 } }]);
  const run = await session.finished(started, { timeout_ms: 20_000 });
  assert.deepEqual([run?.status, run?.output], ['completed', { n: 1 }]);
});

test('older messages, page by page', async () => {
  const session = await opened();
  for (const n of [1, 2, 3, 4]) await done(session, { say: `${n}` });
  const page = await session.messages({ limit: 3 });
  assert.deepEqual([page.messages.length, page.more], [3, true]);
  const other = await join(url);
  const few = other.session(session.id, { messages: 2 });
  few.open();
  await few.waitUntil(() => true);
  assert.equal(few.state?.messages.length, 2);
  assert.equal(await few.loadOlder({ limit: 4 }), true);
  assert.equal(await few.loadOlder({ limit: 4 }), false);
  await few.loadOlder();
  few.notify();
  await new Promise((resolve) => setTimeout(resolve, 50));
  const shown = few.getSnapshot();
  assert.equal(shown.more, false);
  const all = (await session.messages({ limit: 50 })).messages;
  assert.deepEqual(
    shown.messages.map(({ id }) => id),
    all.map((/** @type {{id: string}} */ { id }) => id),
  );
});

test('other tools from now on', async () => {
  const session = await opened();
  await session.useTools([tool('now').handler(() => 'noon')]);
  await done(session, { call_tool: { name: 'now' } }, { say: '{last}' });
  assert.equal(texts(session).at(-1), '"noon"');
});

test('listeners for messages and calls', async () => {
  const session = await opened({ tools: [tool('ask')] });
  /** @type {string[]} */
  const heard = [];
  session.onMessage(({ type, content, done: over }) => over && heard.push(`${type} ${content}`));
  const leave = session.onToolCall(({ id, name }) => void session.submitToolResult(id, name));
  await done(session, { think: 'Hm' }, { call_tool: { name: 'ask' } }, { say: '{last}' });
  leave();
  assert.ok(heard.includes('text "ask"'));
  assert.deepEqual(session.pendingToolCalls, []);
});

test('the raw stream', async () => {
  const session = await opened();
  const other = await join(url);
  /** @type {string[]} */
  const types = [];
  /** @type {string[]} */
  const life = [];
  /** @type {number[]} */
  const states = [];
  const stream = new StreamManager({
    client: other,
    session: session.id,
    onData: ({ type }) => types.push(type),
    onState: ({ seq }) => states.push(seq),
    onStart: () => life.push('start'),
    onStop: () => life.push('stop'),
    onError: () => life.push('error'),
  });
  const completed = new Promise((resolve) => stream.addEventListener('run.completed', resolve));
  await stream.connect();
  await done(session, { say: 'Hi' });
  await completed;
  stream.stop();
  await other.list();
  assert.ok(types.includes('message.delta'));
  assert.equal(states.length, 1);
  assert.deepEqual(life, ['start', 'stop']);
  assert.equal(other.sessions.size, 0);
  const lost = new StreamManager({
    client: { url, WebSocket: CountedSocket },
    session: 's_none',
    onError: () => life.push('error'),
  });
  await assert.rejects(lost.connect(), { code: 'session.not_found' });
  assert.deepEqual([life.at(-1), lost.client.status], ['error', 'closed']);
});

test('a raw stream that ends by itself', async () => {
  const session = await opened();
  const stopped = new Promise((resolve) => {
    const client = { url, WebSocket: CountedSocket };
    const stream = new StreamManager({
      client,
      session: session.id,
      onStop: () => resolve(stream),
    });
    stream.stopAfter(600_000);
    stream.clearStopTimeout();
    void stream.connect().then(() => stream.stopAfter(1));
  });
  const stream = /** @type {StreamManager} */ (await stopped);
  assert.equal(stream.client.status, 'closed');
});

test('a lost connection loses nothing and repeats nothing', async () => {
  const own = await join(url);
  const session = own.session(undefined, { agent: 'scripted' });
  /** @type {number[]} */
  const seqs = [];
  session.onEvent(({ seq, from_seq = seq }) => {
    for (let n = from_seq; n <= seq; n++) seqs.push(n);
  });
  await session.create();
  const text = 'x'.repeat(400);
  const sent = await session.send(script({ say: text, chunk: 4, interval_ms: 10 }));
  for (const size of [40, 120, 240]) {
    await session.waitUntil(() => session.text(sent.run ?? '').length > size);
    CountedSocket.opened.at(-1)?.terminate();
    own.retry();
  }
  await session.finished(sent);
  assert.equal(session.text(sent.run ?? ''), text);
  const first = seqs[0];
  assert.deepEqual(
    seqs,
    seqs.map((_, index) => first + index),
  );
});

test('one socket for everything', async () => {
  const before = CountedSocket.opened.length;
  await Promise.all([opened(), opened(), opened()]);
  assert.equal(CountedSocket.opened.length, before);
});

test('the connection is a store as well', async () => {
  const own = await join(url);
  const snapshot = own.getSnapshot();
  assert.equal(snapshot, own.getSnapshot());
  assert.equal(snapshot.status, 'open');
  /** @type {string[]} */
  const seen = [];
  own.subscribe(() => seen.push(own.getSnapshot().status));
  own.close();
  assert.deepEqual(seen, ['closed']);
  await assert.rejects(own.ready(), { code: 'client.closed' });
});
