import assert from 'node:assert/strict';
import { test } from 'node:test';

import { GatewayError } from '../src/errors.js';
import { Session } from '../src/session.js';
import { ToolRunner } from '../src/tools.js';
import { counting, event, ManualClock, stateOf } from './support.js';

/** @typedef {import('../src/types.js').AnyFrame} AnyFrame */

/**
 * @param {import('../src/session.js').SessionOptions} [options]
 * @param {Record<string, unknown>} [answer] to every command
 */
function handle(options = {}, answer = {}) {
  /** @type {any[]} */
  const log = [];
  /** @param {AnyFrame} frame @returns {Promise<AnyFrame>} */
  const command = async (frame) => {
    log.push(frame);
    return { type: 'ok', id: frame.id, ...answer };
  };
  const makeId = counting();
  const clock = new ManualClock();
  const session = new Session('s_1', options, {
    command,
    clock,
    subscribe: (id, wishes, after) => log.push({ subscribe: id, wishes, after }),
    unsubscribe: (id) => log.push({ unsubscribe: id }),
    tools: new ToolRunner({ client: 'tab_A', command, makeId, clock }),
    makeId,
    batched: (callback) => callback,
  });
  return { session, log, clock };
}

const TOOL = { name: 'look', parameters: {}, handler() {} };

test('create sends the tools without their handlers, and subscribes after it', async () => {
  const { session, log } = handle({ agent: 'demo', tools: [TOOL], detail: 'full' });
  await session.create();
  assert.deepEqual(log, [
    {
      type: 'session.create',
      id: 'k_1',
      session: 's_1',
      agent: 'demo',
      tools: [{ name: 'look', parameters: {} }],
    },
    { subscribe: 's_1', wishes: { detail: 'full', tools: ['look'] }, after: 'k_1' },
  ]);
  assert.equal(session.status, 'opening');
});

test('create without an agent says what is missing', () => {
  assert.throws(() => handle().session.create(), /agent/);
});

test('commands name their session', async () => {
  const { session, log } = handle();
  await session.send('hi', { if_busy: 'enqueue' });
  await session.stop({ reason: 'enough' });
  await session.approve('a_1', { arguments: { title: 'B' } });
  await session.deny('a_2', { reason: 'no' });
  await session.update({ metadata: { title: 'T' } });
  await session.messages({ before: 'm_9' });
  await session.delete();
  const base = { session: 's_1' };
  assert.deepEqual(log, [
    { type: 'message.send', ...base, content: 'hi', if_busy: 'enqueue', message: 'm_1' },
    { type: 'run.interrupt', ...base, reason: 'enough' },
    {
      type: 'approval.respond',
      ...base,
      approval: 'a_1',
      decision: 'approve',
      arguments: { title: 'B' },
    },
    { type: 'approval.respond', ...base, approval: 'a_2', decision: 'deny', reason: 'no' },
    { type: 'session.update', ...base, metadata: { title: 'T' } },
    { type: 'session.messages', ...base, before: 'm_9' },
    { type: 'session.delete', ...base },
  ]);
});

test('the state follows resets and events, and listeners hear of it until they leave', () => {
  const { session } = handle();
  let changes = 0;
  /** @type {any[]} */
  const heard = [];
  const leave = session.subscribe(() => changes++);
  session.onEvent((heardEvent, state) => heard.push([heardEvent.type, state.seq]));
  session.reset(stateOf({ seq: 4 }), 'full');
  session.applyEvent(event(5, 'run.log'));
  assert.deepEqual([session.status, session.state?.seq, session.detail], ['open', 5, 'full']);
  assert.deepEqual(heard, [['run.log', 5]]);
  assert.equal(changes, 2);
  leave();
  session.applyEvent(event(6, 'run.log'));
  assert.equal(changes, 2);
});

test('a refusal is kept for whoever looks', () => {
  const { session } = handle();
  session.refuse(new GatewayError('session.not_found', 'No.'));
  assert.deepEqual([session.status, session.error?.code], ['closed', 'session.not_found']);
});

test('a deleted session is closed', async () => {
  const { session } = handle();
  session.reset(stateOf(), 'full');
  const events = session.events();
  session.applyEvent(event(2, 'session.deleted'));
  assert.equal((await events.next()).value.type, 'session.deleted');
  await assert.rejects(events.next(), { code: 'session.not_found' });
  assert.deepEqual([session.status, session.error?.code], ['closed', 'session.not_found']);
});

test('close unsubscribes once', () => {
  const { session, log } = handle();
  session.close();
  session.close();
  assert.deepEqual(log, [{ unsubscribe: 's_1' }]);
});

test('older messages than a state that holds none', async () => {
  const page = [{ id: 'm_1', role: 'user', status: 'complete', time: '', parts: [] }];
  const { session, log } = handle({}, { messages: page, more: false });
  session.reset(stateOf({ more: true }), 'full');
  assert.equal(await session.loadOlder(), false);
  await session.loadOlder();
  const asked = { type: 'session.messages', session: 's_1', before: undefined, limit: 50 };
  assert.deepEqual(log, [asked]);
  assert.deepEqual(session.getSnapshot().messages, page);
});

test('a closed handle stays closed, whatever its tools', async () => {
  const { session, log } = handle();
  session.refuse(new GatewayError('session.not_found', 'No.'));
  await assert.rejects(session.useTools([TOOL]), { code: 'session.not_found' });
  assert.deepEqual([session.status, log], ['closed', [{ unsubscribe: 's_1' }]]);
});

test('a message that was stored and never seen is not under way', async () => {
  const { session } = handle({}, { message: 'm_1', run: 'r_1', seq: 3 });
  session.reset(stateOf(), 'full');
  const sent = await session.send('hi');
  assert.deepEqual([sent.seq, sent.epoch], [3, 'e_1']);
  assert.equal(session.getSnapshot().messages[0].status, 'sending');
  session.reset(stateOf({ seq: 4 }), 'full');
  assert.deepEqual(session.getSnapshot().messages, []);
  await session.send('hi again');
  assert.deepEqual([session.getSnapshot().messages, session.outgoing], [[], []]);
});

test('a run that was lost with the end of the log is over', async () => {
  const { session } = handle({}, { run: 'r_1', seq: 50 });
  session.reset(stateOf({ seq: 45 }), 'full');
  const started = await session.run();
  assert.equal(session.isOver(started), false);
  session.reset(stateOf({ seq: 45, epoch: 'e_2' }), 'full');
  assert.equal(await session.finished(started), null);
});

test('the snapshot is the same until something changed', () => {
  const { session } = handle();
  const first = session.getSnapshot();
  assert.equal(session.getSnapshot(), first);
  const state = stateOf({ seq: 4 });
  session.reset(state, 'full');
  const second = session.getSnapshot();
  assert.deepEqual(
    [second.status, second.state, second.detail, second.more],
    ['open', state, 'full', false],
  );
  assert.equal(session.getSnapshot(), second);
  session.applyEvent(event(5, 'run.log'));
  assert.notEqual(session.getSnapshot(), second);
});

test('a watcher that throws keeps nobody else from hearing', async () => {
  const { session, clock } = handle();
  session.watch(() => {
    throw new Error('mine');
  });
  const waiting = session.waitUntil(({ seq }) => seq === 4);
  session.reset(stateOf({ seq: 4 }), 'full');
  await waiting;
  await assert.rejects(clock.advance(0), /mine/);
});

test('a listener that throws keeps nobody else from hearing, not even of the end', async () => {
  const { session, clock } = handle();
  session.reset(stateOf({ seq: 4 }), 'full');
  /** @type {string[]} */
  const heard = [];
  session.onEvent(() => {
    throw new Error('mine');
  });
  session.onEvent(({ type }) => heard.push(type));
  session.subscribe(() => {
    throw new Error('mine too');
  });
  session.subscribe(() => heard.push('drawn'));
  const events = session.events();
  session.applyEvent(event(5, 'session.deleted'));
  assert.equal((await events.next()).value.type, 'session.deleted');
  assert.equal(session.status, 'closed');
  assert.ok(heard.includes('session.deleted') && heard.includes('drawn'));
  await assert.rejects(clock.advance(0), /mine/);
});

test('a session that ends ends whoever waits for it', async () => {
  const { session } = handle();
  const events = session.events();
  const waiting = assert.rejects(
    session.waitUntil(() => false),
    { code: 'client.closed' },
  );
  session.close();
  await waiting;
  assert.equal((await events.next()).done, true);
  assert.equal((await session.events().next()).done, true);
  const refused = handle().session;
  const broken = refused.events();
  refused.refuse(new GatewayError('auth.forbidden', 'No.'));
  await assert.rejects(broken.next(), { code: 'auth.forbidden' });
});

test('any tool may be answered by hand', () => {
  const { session, log } = handle({ anyTool: true, tools: [TOOL], messages: 5 });
  session.open();
  assert.deepEqual(log, [
    { subscribe: 's_1', wishes: { tools: ['*'], messages: 5 }, after: undefined },
  ]);
  const call = { run: 'r_1', message: 'm_1', target: 'client', status: 'requested' };
  const calls = {
    c_1: { ...call, id: 'c_1', name: 'look' },
    c_2: { ...call, id: 'c_2', name: 'other' },
    c_3: { ...call, id: 'c_3', name: 'other', client: 'tab_B' },
  };
  session.reset(stateOf({ calls }), 'full');
  assert.deepEqual(
    session.pendingToolCalls.map(({ id }) => id),
    ['c_2'],
  );
});
