import assert from 'node:assert/strict';
import { after, test } from 'node:test';

import { GatewayClient } from '../../src/client.js';
import { Chat } from '../../src/react/chat.js';
import { planOf } from '../../src/react/config.js';
import { Holds } from '../../src/react/holds.js';
import { ManualClock } from '../support.js';
import { Line, welcomed } from './line.js';

/** @type {(() => void)[]} what ends with the file, also when a test fails */
const stops = [];
after(() => stops.forEach((stop) => stop()));

const time = '2026-01-01T00:00:00.000Z';

/**
 * @param {import('../../src/react/config.js').ChatConfig} [config]
 * @param {{client: GatewayClient, holds: Holds}} [shared]
 */
function chatOf(config, shared) {
  const { client = newClient(), holds = new Holds() } = shared ?? {};
  /** @type {Map<string, string>} */
  const kept = new Map();
  /** @type {string[]} what was asked of the page */
  const asked = [];
  const chat = new Chat(planOf({ agent: 'echo', ...config }), {
    client() {
      asked.push('client');
      return client;
    },
    holdClient() {
      client.connect();
      return () => shared ?? client.close();
    },
    holdSession(of, id, options) {
      asked.push('session');
      return holds.holdSession(of, id, options);
    },
    storage: /** @type {any} */ ({
      getItem: (/** @type {string} */ name) => kept.get(name) ?? null,
      setItem: (/** @type {string} */ name, /** @type {string} */ id) => kept.set(name, id),
      removeItem: (/** @type {string} */ name) => kept.delete(name),
    }),
  });
  return { chat, kept, client, holds, asked };
}

function newClient() {
  return new GatewayClient({ url: 'http://gateway.test/', WebSocket: Line });
}

/** @param {import('../../src/react/config.js').ChatConfig} [config] */
async function started(config = {}) {
  const made = chatOf(config);
  const stop = made.chat.start();
  stops.push(stop);
  await frame();
  const line = welcomed(made.client);
  return { ...made, line, stop };
}

/** Longer than listeners are held back. */
const frame = () => new Promise((resolve) => setTimeout(resolve, 40));

/** @param {Line} line @param {Chat} chat */
function subscribed(line, chat) {
  const session = chat.getSnapshot().chatId ?? '';
  const created = line.last('session.create');
  const { id } = line.last('session.subscribe') ?? {};
  line.say({ type: 'ok', id: created.id, session });
  const state = {
    ...{ session, agent: 'echo', epoch: 'e', seq: 1, metadata: {}, tools: [], messages: [] },
    ...{ more: false, run: null, queue: [], calls: {}, approvals: {}, remembered: [], custom: {} },
  };
  const head = { type: 'subscribed', session, epoch: 'e', seq: 1, recovered: false };
  line.say({ ...head, ...(id ? { id } : {}), detail: 'full', state });
  return session;
}

/**
 * A chat whose first message was taken, and what says what happens in its session.
 */
async function talking() {
  const made = await started();
  const { chat, line } = made;
  void chat.actions.sendMessage('Hi');
  await frame();
  const session = subscribed(line, chat);
  const sent = line.last('message.send');
  line.say({ type: 'ok', id: sent.id, message: sent.message, run: 'r', seq: 3 });
  let seq = 1;
  /** @param {string} type @param {any} [fields] */
  const tell = async (type, fields) => {
    line.say({ session, seq: ++seq, time, type, ...fields });
    await frame();
  };
  const parts = [{ kind: 'text', text: 'Hi' }];
  await tell('message.added', { message: sent.message, role: 'user', parts });
  await tell('run.queued', { run: 'r', trigger: sent.message });
  return { ...made, tell };
}

test('from the first message to the end of its answer', async () => {
  const { chat, line, stop } = await started();
  /** @type {string[]} */
  const told = [];
  chat.callbacks = {
    onStatusChange: (status) => told.push(status),
    onChatCreated: () => told.push('created'),
    onTurnEnd: ({ run }) => told.push(`turn ${run?.status}`),
  };
  assert.equal(chat.getSnapshot().status, 'idle');
  assert.equal(line.last('session.create'), undefined);
  const sending = chat.actions.sendMessage('Hi');
  await frame();
  assert.equal(chat.getSnapshot().messages[0].status, 'sending');
  assert.equal(chat.getSnapshot().isGenerating, true);
  const session = subscribed(line, chat);
  const sent = line.last('message.send');
  assert.equal(sent.if_busy, 'enqueue');
  line.say({ type: 'ok', id: sent.id, message: sent.message, run: 'r', seq: 3 });
  await sending;
  const event = (/** @type {number} */ seq, /** @type {any} */ fields) =>
    line.say({ session, seq, time, ...fields });
  const parts = [{ kind: 'text', text: 'Hi' }];
  event(2, { type: 'message.added', message: sent.message, role: 'user', parts });
  event(3, { type: 'run.queued', run: 'r', trigger: sent.message });
  event(4, { type: 'run.started', run: 'r' });
  event(5, { type: 'message.started', message: 'a', run: 'r' });
  event(6, { type: 'message.delta', message: 'a', part: 0, kind: 'text', delta: 'Ech' });
  await frame();
  const before = chat.getSnapshot();
  assert.deepEqual(
    before.messages.map(({ text, done }) => [text, done]),
    [
      ['Hi', true],
      ['Ech', false],
    ],
  );
  assert.equal(before.status, 'streaming');
  assert.equal(before.chat?.status, 'busy');
  event(7, { type: 'message.delta', message: 'a', part: 0, kind: 'text', delta: 'o' });
  event(8, { type: 'message.completed', message: 'a', status: 'complete' });
  event(9, { type: 'run.completed', run: 'r' });
  await frame();
  const after = chat.getSnapshot();
  assert.equal(after.messages[0], before.messages[0]);
  assert.equal(after.messages[1].content, 'Echo');
  assert.equal(after.status, 'idle');
  assert.equal(chat.getSnapshot(), after);
  // Callbacks of one moment come in no promised order.
  const all = ['connecting', 'created', 'idle', 'streaming', 'turn completed'];
  assert.deepEqual(told.toSorted(), all);
  stop();
});

test('a session that is remembered is taken up, and a new one after a reset', async () => {
  const { chat, line, stop, kept } = await started({ persist: 'chat' });
  void chat.actions.sendMessage('Hi');
  const first = subscribed(line, chat);
  assert.equal(kept.get('chat'), first);
  stop();
  const leave = chat.start();
  assert.equal(chat.getSnapshot().chatId, first);
  chat.actions.reset();
  assert.equal(chat.getSnapshot().chatId, null);
  assert.equal(kept.get('chat'), undefined);
  leave();
});

test('what goes wrong is an error until it is cleared, and rejects nothing', async () => {
  const { chat, line, stop } = await started();
  /** @type {string[]} */
  const errors = [];
  chat.callbacks = { onError: ({ message }) => errors.push(message) };
  const sending = chat.actions.sendMessage('Hi');
  await frame();
  subscribed(line, chat);
  const sent = line.last('message.send');
  line.say({
    type: 'error',
    id: sent.id,
    code: 'limit.exceeded',
    message: 'Too much.',
    retryable: false,
  });
  assert.equal(await sending, null);
  await frame();
  assert.equal(chat.getSnapshot().status, 'error');
  assert.equal(chat.getSnapshot().error, 'Too much.');
  assert.equal(chat.getSnapshot().messages[0].status, 'refused');
  assert.deepEqual(errors, ['Too much.']);
  chat.actions.clearError();
  assert.equal(chat.getSnapshot().status, 'idle');
  stop();
});

test('actions without a session do nothing', async () => {
  const { chat, stop } = await started();
  assert.equal(await chat.actions.stopGeneration(), null);
  assert.equal(await chat.actions.loadOlderMessages(), false);
  assert.equal(chat.getSnapshot().chatId, null);
  stop();
});

test('a run that fails is told though something was dismissed while it ran', async () => {
  const { chat, stop, tell } = await talking();
  await tell('run.started', { run: 'r' });
  chat.actions.clearError();
  await tell('run.failed', { run: 'r', error: { code: 'agent.failed', message: 'Broken.' } });
  assert.equal(chat.getSnapshot().error, 'Broken.');
  chat.actions.clearError();
  assert.equal(chat.getSnapshot().error, null);
  stop();
});

test('Stop names the run that is shown, or the one that waits', async () => {
  const { chat, line, stop, tell } = await talking();
  void chat.actions.stopGeneration();
  assert.equal(line.last('run.interrupt').run, 'r');
  await tell('run.started', { run: 'r' });
  await tell('run.queued', { run: 'next', trigger: 'm' });
  const stopping = chat.actions.stopGeneration();
  const { id, run } = line.last('run.interrupt');
  assert.equal(run, 'r');
  line.say({ type: 'error', id, code: 'run.not_active', message: 'Over.', retryable: false });
  await stopping;
  assert.equal(chat.getSnapshot().error, null);
  stop();
});

test('the newest chat of a session executes its tools, and the one before when it goes', async (t) => {
  const { chat, line, stop, client, holds } = await started({ session: 's' });
  t.after(stop);
  /** @type {string[]} */
  const called = [];
  /** @param {string} by @param {string[]} names @returns {import('../../src/tools.js').ClientTool[]} */
  const tools = (by, ...names) =>
    names.map((name) => ({
      ...{ name, parameters: { type: 'object' } },
      handler: () => void called.push(`${name} by ${by}`),
    }));
  chat.useTools(tools('first', 'look'));
  subscribed(line, chat);
  let seq = 1;
  /** @param {string} name */
  const call = async (name) => {
    const { id } = line.last('session.subscribe');
    const head = { session: 's', epoch: 'e', seq, recovered: true, detail: 'full' };
    line.say({ type: 'subscribed', id, ...head });
    for (const type of ['message.started', 'tool_call.started', 'tool_call.requested']) {
      const fields = {
        call: `call ${name} ${head.seq}`,
        name,
        target: 'client',
        run: 'r',
        message: 'a',
      };
      line.say({
        session: 's',
        seq: ++seq,
        time,
        type,
        role: 'assistant',
        arguments: {},
        ...fields,
      });
    }
    await frame();
    const claim = line.last('tool.claim');
    line.say({ type: 'ok', id: claim?.id, lease_ms: 30_000 });
    await frame();
  };
  const other = chatOf({ session: 's' }, { client, holds }).chat;
  other.useTools(tools('second', 'look', 'write'));
  const plain = chatOf({ session: 's' }, { client, holds }).chat;
  const leave = other.start();
  t.after(plain.start());
  assert.equal(line.last('session.update').tools.length, 2);
  await call('look');
  await call('write');
  leave();
  assert.equal(line.last('session.update').tools.length, 1);
  await call('look');
  assert.deepEqual(called, ['look by second', 'write by second', 'look by first']);
});

const UNAVAILABLE = { code: 'broker.unavailable', message: 'Away.', retryable: true };
const NOT_FOUND = { code: 'session.not_found', message: 'No.', retryable: false };

/** A chat whose first message, and the session with it, was refused for the moment. */
async function refused() {
  const clock = new ManualClock();
  const client = new GatewayClient({
    ...{ url: 'http://gateway.test/', WebSocket: Line },
    ...{ clock, random: () => 0.5 },
  });
  const { chat } = chatOf({}, { client, holds: new Holds() });
  stops.push(chat.start());
  await clock.advance(0);
  const line = welcomed(client);
  void chat.actions.sendMessage('Hi');
  for (const type of ['session.create', 'session.subscribe', 'message.send']) {
    const { id, session } = line.last(type);
    line.say({ type: 'error', id, session, ...UNAVAILABLE });
  }
  await clock.advance(250);
  assert.equal(line.all('session.subscribe').length, 2);
  const { id, session } = line.last('session.subscribe');
  /** @param {any} error the answer to the second try */
  const answer = (error) => line.say({ type: 'error', id, session, ...error });
  return { chat, clock, line, session, answer };
}

/**
 * Its message is sent again, and taken.
 * @param {Chat} chat
 * @param {Line} line
 */
async function sentAgain(chat, line) {
  const [{ id, status }] = chat.getSnapshot().messages;
  assert.equal(status, 'refused');
  const sending = chat.actions.resendMessage(id);
  const sent = line.last('message.send');
  assert.deepEqual([sent.message, sent.content], [id, 'Hi']);
  line.say({ type: 'ok', id: sent.id, message: id, run: 'r', seq: 3 });
  assert.ok(await sending);
  return sent.session;
}

test('a session that cannot be made now is asked for again, and then takes its message', async () => {
  const { chat, clock, line, session, answer } = await refused();
  answer(UNAVAILABLE);
  await clock.advance(750);
  assert.deepEqual(
    line.all('session.create').map((frame) => frame.session),
    [session, session],
  );
  assert.equal(subscribed(line, chat), session);
  await clock.advance(40);
  assert.equal(await sentAgain(chat, line), session);
  await clock.advance(5_000);
  assert.equal(line.all('session.create').length, 2);
});

test('also where its subscription was refused meanwhile', async () => {
  const { chat, clock, line, session, answer } = await refused();
  answer(NOT_FOUND);
  await clock.advance(1_000);
  assert.equal(line.all('session.create').length, 2);
  assert.equal(subscribed(line, chat), session);
  await clock.advance(40);
  assert.equal(await sentAgain(chat, line), session);
});

test('sent again by hand before, the message brings its session', async () => {
  const { chat, clock, line, session, answer } = await refused();
  answer(NOT_FOUND);
  await clock.advance(40);
  assert.equal(await sentAgain(chat, line), session);
  assert.equal(subscribed(line, chat), session);
  await clock.advance(5_000);
  assert.equal(line.all('session.create').length, 2);
});

test('other tools bring no deleted session back; the next message makes another', async () => {
  const { chat, line, stop, tell } = await talking();
  const first = chat.getSnapshot().chatId;
  await tell('session.deleted');
  chat.useTools([{ name: 'look', parameters: { type: 'object' } }]);
  await frame();
  assert.equal(chat.session?.status, 'closed');
  assert.equal(line.last('session.update'), undefined);
  void chat.actions.sendMessage('x');
  const { session } = line.last('session.create');
  assert.notEqual(session, first);
  assert.equal(line.last('message.send').session, session);
  stop();
});

test('a chat that is not on the page opens nothing, and draws nothing', async () => {
  const { chat, line, stop, asked } = await talking();
  const stopping = chat.actions.stopGeneration();
  stop();
  await stopping;
  asked.length = 0;
  assert.equal(await chat.actions.sendMessage('Late'), null);
  chat.actions.reconnect();
  chat.actions.reset();
  await frame();
  assert.deepEqual(asked, []);
  assert.equal(line.all('message.send').length, 1);
});
