import assert from 'node:assert/strict';
import { test } from 'node:test';

import { GatewayClient } from '../../src/client.js';
import { Chat } from '../../src/react/chat.js';
import { planOf } from '../../src/react/config.js';
import { Holds } from '../../src/react/holds.js';

/** A socket to a gateway that the test plays by hand. */
class Line {
  /** @type {Line[]} */
  static all = [];
  /** @type {any} */
  onopen = null;
  /** @type {any} */
  onmessage = null;
  /** @type {any} */
  onclose = null;
  /** @type {any[]} */
  heard = [];

  constructor() {
    Line.all.push(this);
  }

  /** @param {string} text */
  send(text) {
    this.heard.push(...text.split('\n').map((line) => JSON.parse(line)));
  }

  close() {}

  /** @param {any[]} frames */
  say(...frames) {
    this.onmessage({ data: frames.map((frame) => JSON.stringify(frame)).join('\n') });
  }

  /** @param {string} type */
  last(type) {
    return this.heard.findLast((frame) => frame.type === type);
  }
}

const time = '2026-01-01T00:00:00.000Z';

/** @param {import('../../src/react/config.js').ChatConfig} [config] */
async function started(config = {}) {
  const client = new GatewayClient({ url: 'http://gateway.test/', WebSocket: Line });
  const holds = new Holds();
  /** @type {Map<string, string>} */
  const kept = new Map();
  const chat = new Chat(planOf({ agent: 'echo', ...config }), {
    client: () => client,
    holdClient() {
      client.connect();
      return () => client.close();
    },
    holdSession: (of, id, options) => holds.holdSession(of, id, options),
    storage: /** @type {any} */ ({
      getItem: (/** @type {string} */ name) => kept.get(name) ?? null,
      setItem: (/** @type {string} */ name, /** @type {string} */ id) => kept.set(name, id),
      removeItem: (/** @type {string} */ name) => kept.delete(name),
    }),
  });
  const stop = chat.start();
  await frame();
  const line = /** @type {Line} */ (Line.all.at(-1));
  line.onopen();
  line.say({ type: 'welcome', client: client.id, limits: {}, features: [], heartbeat_ms: 25_000 });
  return { chat, line, stop, kept, client };
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
