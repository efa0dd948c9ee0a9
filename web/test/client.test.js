/** The client's I/O with a socket that is a value; real sockets are the browser tests' matter. */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { createClient, GatewayClient } from '../src/client.js';
import { counting, event, lines, ManualClock, settled, subscribed, WELCOME } from './support.js';

/** @typedef {import('../src/types.js').AnyFrame} AnyFrame */

class Line {
  /** @type {Line[]} */
  static opened = [];
  /** @type {string[]} */
  texts = [];
  closed = false;
  /** @type {any} */
  onopen = null;
  /** @type {any} */
  onmessage = null;
  /** @type {any} */
  onclose = null;
  readyState = 1;

  /** @param {string} url @param {string[]} protocols */
  constructor(url, protocols) {
    this.url = url;
    this.protocols = protocols;
    Line.opened.push(this);
  }

  /** @param {string} text */
  send(text) {
    this.texts.push(text);
  }

  close() {
    this.closed = true;
  }

  /** @returns {AnyFrame[]} what came since the last look */
  get frames() {
    return this.texts.splice(0).flatMap((text) => text.split('\n').map((line) => JSON.parse(line)));
  }

  /** @param {AnyFrame[]} frames */
  says(...frames) {
    this.onmessage({ data: lines(...frames) });
  }
}

/** @param {Partial<import('../src/client.js').ClientOptions>} [options] */
async function connect(options = {}) {
  Line.opened = [];
  const clock = new ManualClock();
  const client = new GatewayClient({
    url: 'ws://gateway/v1/ws',
    WebSocket: Line,
    clock,
    random: () => 0.5,
    makeId: counting(),
    ...options,
  });
  client.connect();
  await settled();
  const line = Line.opened[0];
  line.onopen();
  line.says(WELCOME);
  return { client, clock, line };
}

test('connects with the subprotocol and says hello', async () => {
  const { client, line } = await connect({ token: () => Promise.resolve('secret') });
  assert.deepEqual([line.url, line.protocols], ['ws://gateway/v1/ws', ['agent-gateway.v1']]);
  assert.deepEqual(line.frames, [{ type: 'hello', client: client.id, token: 'secret' }]);
  assert.equal(client.status, 'open');
  assert.equal(client.welcome?.connection, 'x_1');
});

test('a ticket goes beside the subprotocol, and hello needs no token', async () => {
  let bought = 0;
  const ticket = async () => `T${++bought}`;
  const { client, clock, line } = await connect({ ticket });
  assert.deepEqual(line.protocols, ['agent-gateway.v1', 'agent-gateway.ticket.T1']);
  assert.deepEqual(line.frames, [{ type: 'hello', client: client.id }]);
  line.onclose({ code: 4401, reason: '' });
  await clock.advance(1000);
  await settled();
  assert.deepEqual(Line.opened[1].protocols, ['agent-gateway.v1', 'agent-gateway.ticket.T2']);
});

test('many sessions, one socket', async () => {
  const { client, line } = await connect();
  for (const id of ['s_1', 's_2']) void client.session(id, { agent: 'echo' }).create();
  const types = line.frames.map((frame) => `${frame.type} ${frame.session ?? ''}`);
  assert.deepEqual(types.slice(1), [
    'session.create s_1',
    'session.subscribe s_1',
    'session.create s_2',
    'session.subscribe s_2',
  ]);
  assert.equal(Line.opened.length, 1);
  assert.equal(client.session('s_1'), client.sessions.get('s_1'));
});

test('a command resolves with its ok and rejects with its error', async () => {
  const { client, line } = await connect();
  const good = client.list({ limit: 5 });
  const bad = client.command({ type: 'session.delete', session: 's_9' });
  const [, first, second] = line.frames;
  assert.equal(first.limit, 5);
  line.says({ type: 'ok', id: first.id, sessions: [], more: false });
  const refusal = { code: 'session.not_found', message: 'No.', retryable: false };
  line.says({ type: 'error', id: second.id, ...refusal });
  assert.deepEqual((await good).sessions, []);
  await assert.rejects(bad, { code: 'session.not_found' });
});

test('events reach their session, and its listeners once per frame', async () => {
  const { client, clock, line } = await connect();
  const session = client.session('s_1');
  session.open();
  const request = line.frames.at(-1);
  let changes = 0;
  session.subscribe(() => changes++);
  line.says(subscribed({ id: request?.id }), event(2, 'run.log'), event(3, 'run.log'));
  assert.equal(session.state?.seq, 3);
  await clock.advance(16);
  assert.equal(changes, 1);
});

test('nothing is written on a socket that is closing; the next one carries it', async () => {
  const { client, clock, line } = await connect();
  line.readyState = 2;
  const listed = client.list({ limit: 5 });
  assert.deepEqual(line.frames.slice(1), []);
  line.onclose({ code: 1001, reason: '' });
  await clock.advance(250);
  const next = Line.opened[1];
  next.onopen();
  next.says(WELCOME);
  const request = next.frames.at(-1);
  assert.equal(request?.type, 'session.list');
  next.says({ type: 'ok', id: request?.id, sessions: [], more: false });
  assert.deepEqual((await listed).sessions, []);
});

test('a lost connection is resumed, and the status says when', async () => {
  const { client, clock, line } = await connect();
  /** @type {string[]} */
  const seen = [];
  const leave = client.onStatus(({ status }) => seen.push(status));
  line.onclose({ code: 1006, reason: '' });
  assert.equal(client.retryInMs, 250);
  await clock.advance(250);
  assert.equal(client.retryInMs, null);
  const next = Line.opened[1];
  next.onopen();
  next.says(WELCOME);
  assert.deepEqual(seen, ['resuming', 'resuming', 'open']);
  leave();
});

test('a tool of the page is executed for the agent', async () => {
  const { client, clock, line } = await connect();
  const tools = [{ name: 'look', parameters: {}, handler: () => 'seen' }];
  client.session('s_1', { tools }).open();
  const request = line.frames.at(-1);
  assert.deepEqual(request?.tools, ['look']);
  const call = { id: 'c_1', run: 'r_1', message: 'm_1', name: 'look', arguments: {} };
  const calls = { c_1: { ...call, target: 'client', status: 'requested' } };
  const frame = subscribed({ id: request?.id });
  line.says({ ...frame, state: { ...frame.state, calls } });
  await clock.advance(0);
  const [claim] = line.frames;
  assert.equal(claim.type, 'tool.claim');
  line.says({ type: 'ok', id: claim.id, lease_ms: 15000 });
  await clock.advance(0);
  const [result] = line.frames;
  assert.deepEqual([result.type, result.output], ['tool.result', 'seen']);
});

test('a token that cannot be had is a failed try, not the end', async () => {
  let tries = 0;
  const clock = new ManualClock();
  Line.opened = [];
  const client = new GatewayClient({
    url: 'ws://gateway/v1/ws',
    WebSocket: Line,
    clock,
    random: () => 0.5,
    token: () => (++tries === 1 ? Promise.reject(new Error('401')) : 'secret'),
  });
  client.connect();
  await settled();
  assert.match(client.connection.reason, /401/);
  await clock.advance(250);
  await settled();
  assert.equal(Line.opened.length, 1);
});

test('an expiring token is refreshed by the callback', async () => {
  const tokens = ['one', 'two'];
  const { line } = await connect({ token: () => /** @type {string} */ (tokens.shift()) });
  line.says({ type: 'auth.expiring', in_ms: 60000 });
  await settled();
  const refresh = line.frames.at(-1);
  assert.deepEqual([refresh?.type, refresh?.token], ['auth.refresh', 'two']);
});

test('errors that answer nothing are told to whoever listens', async () => {
  const { client, line } = await connect();
  /** @type {string[]} */
  const codes = [];
  client.onProblem((error) => codes.push(error.code));
  line.says({ type: 'error', code: 'frame.malformed', message: '', retryable: false });
  assert.deepEqual(codes, ['frame.malformed']);
});

test('a listener that throws costs nobody an event', async () => {
  const { client, clock, line } = await connect();
  const session = client.session('s_1');
  session.open();
  session.onEvent(() => {
    throw new Error('mine');
  });
  line.says(subscribed({ id: line.frames.at(-1)?.id }), event(2, 'run.log'), event(3, 'run.log'));
  assert.equal(session.state?.seq, 3);
  await assert.rejects(clock.advance(0), /mine/);
});

test('close refuses what has no answer, and connect starts anew', async () => {
  const { client, line } = await connect();
  const list = client.list();
  client.close();
  await assert.rejects(list, { code: 'client.closed' });
  assert.ok(line.closed);
  assert.equal(client.status, 'closed');
  client.connect();
  await settled();
  assert.equal(Line.opened.length, 2);
});

/**
 * The gateway takes whatever was asked.
 * @param {Line} line
 */
async function takes(line) {
  for (const { type, id, session } of line.frames) {
    if (type === 'session.subscribe') line.says(subscribed({ id, session }));
    else if (id) line.says({ type: 'ok', id, session, message: 'm_1', run: 'r_1', seq: 3 });
  }
  await settled();
}

test('a final close ends every wait, and the session goes on when it connects again', async () => {
  const { client, line } = await connect();
  const session = client.session('s_1');
  session.open();
  const sent = session.send('hi');
  await takes(line);
  const events = session.events();
  const waits = [session.finished(await sent), session.waitUntil(() => false), events.next()];
  line.onclose({ code: 4403, reason: 'No.' });
  const late = [session.waitUntil(() => false), session.events().next()];
  const refused = { code: 'client.closed', message: 'The client is closed: 4403 No.' };
  await Promise.all([...waits, ...late].map((wait) => assert.rejects(wait, refused)));
  assert.equal(session.status, 'open');
  client.connect();
  await settled();
  const next = Line.opened[1];
  next.onopen();
  next.says(WELCOME, subscribed({ recovered: true }), event(2, 'run.log'));
  await session.waitUntil(({ seq }) => seq === 2);
});

test('a final close ends conversations and runs', async () => {
  const { client, line } = await connect();
  const reply = client.agent('echo').sendMessage('hi');
  const started = client.run({ app: 'report' }, { stream: true });
  await takes(line);
  const stream = await started;
  const waits = [reply, stream.next()];
  line.onclose({ code: 4403, reason: '' });
  await Promise.all(waits.map((wait) => assert.rejects(wait, { code: 'client.closed' })));
  assert.equal(stream.session.status, 'closed');
});

test('a session that is closed gives way to a new handle', async () => {
  const { client, line } = await connect();
  const session = client.session('s_1');
  session.open();
  session.close();
  assert.equal(line.frames.at(-1)?.type, 'session.unsubscribe');
  assert.notEqual(client.session('s_1'), session);
});

test('another detail is shown as it was granted, and the state goes on', async () => {
  const { client, line } = await connect();
  const session = client.session('s_1', { detail: 'steps' });
  session.open();
  line.says(subscribed({ id: line.frames.at(-1)?.id, detail: 'steps' }));
  const { state } = session;
  session.options.detail = 'full';
  session.open();
  const request = /** @type {AnyFrame} */ (line.frames.at(-1));
  assert.deepEqual([request.after, request.detail], [1, 'full']);
  assert.deepEqual([session.detail, session.status], ['steps', 'opening']);
  line.says(subscribed({ id: request.id, seq: 1, recovered: true, detail: 'full' }));
  assert.deepEqual([session.detail, session.status], ['full', 'open']);
  assert.equal(session.state, state);
  line.says(event(2, 'run.log', { run: 'r_1', level: 'info', text: 'x' }));
  assert.equal(session.state?.seq, 2);
});

test('where the gateway is', () => {
  const at = (/** @type {Record<string, string>} */ options) =>
    new GatewayClient({ WebSocket: Line, ...options }).url;
  assert.equal(at({ url: 'http://gateway:8000' }), 'ws://gateway:8000/v1/ws');
  assert.equal(at({ baseUrl: 'https://gateway/' }), 'wss://gateway/v1/ws');
  assert.equal(
    at({ proxyUrl: 'wss://gateway/under/a/path?x=1' }),
    'wss://gateway/under/a/path?x=1',
  );
  assert.throws(() => at({}), { code: 'client.usage' });
});

test('createClient connects', async () => {
  Line.opened = [];
  const clock = new ManualClock();
  const client = createClient({ url: 'ws://gateway', WebSocket: Line, clock, apiKey: 'key' });
  await settled();
  Line.opened[0].onopen();
  assert.equal(Line.opened[0].frames[0].token, 'key');
  const ready = client.ready();
  Line.opened[0].says(WELCOME);
  await ready;
});

test('a wait is given up, the command is not', async () => {
  const { client, clock, line } = await connect();
  const gone = assert.rejects(client.list({ limit: 5, timeout_ms: 10 }), { name: 'TimeoutError' });
  await clock.advance(10);
  await gone;
  const list = line.frames.at(-1);
  assert.deepEqual(list, { type: 'session.list', limit: 5, id: list?.id });
  line.says({ type: 'ok', id: list?.id, sessions: [], more: false });
});

test('a session that was refused is not kept', async () => {
  const { client, line } = await connect();
  const session = client.session('s_1');
  session.open();
  const id = line.frames.at(-1)?.id;
  const refusal = { code: 'session.not_found', message: 'No.', retryable: false };
  line.says({ type: 'error', id, session: 's_1', ...refusal });
  assert.deepEqual([session.status, client.sessions.size], ['closed', 0]);
});
