import assert from 'node:assert/strict';
import { test } from 'node:test';

import { apply, emptyState, fold } from '../src/state.js';
import { event, stateOf } from './support.js';

/** @param {[string, Record<string, any>?][]} steps */
function folded(...steps) {
  const events = steps.map(([type, fields], index) => event(index + 2, type, fields));
  return /** @type {any} */ (fold(stateOf(), events));
}

const STARTED = /** @type {[string, any]} */ (['message.started', { message: 'm_2', run: 'r_1' }]);
const QUEUED = /** @type {[string, any]} */ ([
  'run.queued',
  { run: 'r_1', content: [], by: 'dev' },
]);
const RUNNING = /** @type {[string, any]} */ (['run.started', { run: 'r_1' }]);
const CALLED = /** @type {[string, any]} */ ([
  'tool_call.started',
  { message: 'm_2', part: 0, call: 'c_1', name: 'look', target: 'client' },
]);

/** @param {number} part @param {string} kind @param {string} delta @returns {[string, any]} */
function delta(part, kind, delta) {
  return ['message.delta', { message: 'm_2', part, kind, delta }];
}

test('the first event makes a state out of nothing', () => {
  const state = apply(null, event(1, 'session.created', { agent: 'echo' }));
  assert.deepEqual(state, { ...emptyState('s_1'), agent: 'echo', seq: 1 });
});

test('an unknown event only moves the cursor', () => {
  const before = stateOf();
  for (const type of ['future.thing', 'constructor', '__proto__']) {
    assert.deepEqual(apply(before, event(2, type)), { ...before, seq: 2 });
  }
});

test('deltas grow a part, and another kind at its place replaces it', () => {
  const parts = (/** @type {any[]} */ ...steps) => folded(STARTED, ...steps).messages[0].parts;
  assert.deepEqual(parts(delta(0, 'text', 'a'), delta(0, 'text', 'b')), [
    { kind: 'text', text: 'ab' },
  ]);
  assert.deepEqual(parts(delta(0, 'thinking', 'a'), delta(0, 'text', 'b')), [
    { kind: 'text', text: 'b' },
  ]);
});

test('a part that is skipped is hidden, and hidden ones at the end are dropped', () => {
  const state = folded(STARTED, delta(2, 'text', 'x'));
  assert.deepEqual(state.messages[0].parts, [
    { kind: 'hidden' },
    { kind: 'hidden' },
    { kind: 'text', text: 'x' },
  ]);
  const taken = apply(
    state,
    event(9, 'message.part', { message: 'm_2', part: 2, content: { kind: 'hidden' } }),
  );
  assert.deepEqual(taken.messages[0].parts, []);
});

test('what an event does not touch keeps its identity', () => {
  const before = folded(['message.added', { message: 'm_1', role: 'user', parts: [] }], STARTED);
  const after = apply(before, event(9, ...delta(0, 'text', 'x')));
  assert.equal(after.messages[0], before.messages[0]);
  assert.notEqual(after.messages[1], before.messages[1]);
  assert.equal(after.calls, before.calls);
  assert.deepEqual(before.messages[1].parts, []);
});

test('a discarded message leaves with its calls and their approvals', () => {
  const state = folded(
    STARTED,
    CALLED,
    ['approval.requested', { approval: 'a_1', run: 'r_1', call: 'c_1', title: 'look' }],
    ['message.completed', { message: 'm_2', status: 'discarded' }],
  );
  assert.deepEqual([state.messages, state.calls, state.approvals], [[], {}, {}]);
});

test('rewinding keeps up to the message; to one that is not here it keeps none', () => {
  const add = (/** @type {string} */ message) =>
    /** @type {[string, any]} */ (['message.added', { message, role: 'user', parts: [] }]);
  const ids = (/** @type {string} */ after) =>
    folded(add('m_1'), add('m_2'), add('m_3'), ['session.rewound', { after }]).messages.map(
      (/** @type {any} */ message) => message.id,
    );
  assert.deepEqual(ids('m_2'), ['m_1', 'm_2']);
  assert.deepEqual(ids('m_0'), []);
});

test('a run goes from the queue to the run and sheds its message', () => {
  assert.equal(folded(QUEUED).run, null);
  const { run, queue } = folded(QUEUED, RUNNING);
  assert.deepEqual(run, { id: 'r_1', status: 'running', attempt: 1, seq: 2 });
  assert.deepEqual(queue, []);
});

test('a cancelled run that was queued is just gone', () => {
  const state = folded(QUEUED, ['run.cancelled', { run: 'r_1', by: 'dev' }]);
  assert.deepEqual([state.run, state.queue], [null, []]);
});

test('a wait shrinks with what it waits for and ends with the last', () => {
  const waiting = folded(QUEUED, RUNNING, STARTED, CALLED, [
    'run.waiting',
    { run: 'r_1', on: ['c_1', 'a_1'] },
  ]);
  const one = apply(waiting, event(7, 'tool_call.completed', { call: 'c_1', output: 1 }));
  assert.deepEqual([one.run?.status, one.run?.on], ['waiting', ['a_1']]);
  const none = apply(one, event(8, 'approval.resolved', { approval: 'a_1', decision: 'deny' }));
  assert.equal(none.run?.status, 'running');
  assert.ok(none.run && !('on' in none.run));
});

test('a sign of life of the run ends its wait, a claim does not', () => {
  const waiting = folded(QUEUED, RUNNING, STARTED, CALLED, [
    'run.waiting',
    { run: 'r_1', on: ['c_1'] },
  ]);
  const claimed = apply(waiting, event(7, 'tool_call.claimed', { call: 'c_1', client: 'tab_A' }));
  assert.equal(claimed.run?.status, 'waiting');
  const lively = apply(claimed, event(8, 'message.started', { message: 'm_3', run: 'r_1' }));
  assert.equal(lively.run?.status, 'running');
});

test('a change of status clears the activity', () => {
  const state = folded(QUEUED, RUNNING, ['run.activity', { run: 'r_1', activity: 'thinking' }]);
  assert.equal(state.run.activity, 'thinking');
  const ended = apply(
    state,
    event(9, 'run.failed', { run: 'r_1', error: { code: 'x', message: 'y' } }),
  );
  assert.ok(ended.run && !('activity' in ended.run));
  assert.deepEqual(ended.run?.error, { code: 'x', message: 'y' });
});

test('an ended run does not end again', () => {
  const ended = folded(QUEUED, RUNNING, ['run.completed', { run: 'r_1', output: 1 }]);
  const again = apply(ended, event(9, 'run.cancelled', { run: 'r_1', by: 'dev' }));
  assert.equal(again.run?.status, 'completed');
});

test('the life of a call', () => {
  let state = folded(STARTED, CALLED, ['tool_call.delta', { call: 'c_1', delta: '{"a"' }]);
  const take = (
    /** @type {number} */ seq,
    /** @type {string} */ type,
    /** @type {any} */ fields,
  ) => {
    state = apply(state, event(seq, type, { call: 'c_1', ...fields }));
    return state.calls.c_1;
  };
  assert.equal(state.calls.c_1.arguments, '{"a"');
  const offered = take(5, 'tool_call.requested', {
    run: 'r_1',
    arguments: { a: 1 },
    target: 'client',
    client: 'tab_A',
    lease_ms: 9,
  });
  assert.deepEqual(
    [offered.status, offered.arguments, offered.lease_ms],
    ['requested', { a: 1 }, 9],
  );
  const late = take(6, 'tool_call.delta', { delta: 'late' });
  assert.deepEqual(late.arguments, { a: 1 });
  const free = take(7, 'tool_call.released', { reason: 'unclaimed' });
  assert.deepEqual([free.status, free.client], ['requested', undefined]);
  const claimed = take(8, 'tool_call.claimed', { client: 'tab_B', lease_until: 'soon' });
  assert.deepEqual([claimed.status, claimed.client], ['claimed', 'tab_B']);
  const lost = take(9, 'tool_call.released', { reason: 'lease_expired' });
  assert.deepEqual([lost.status, lost.client, lost.lease_until], ['requested', 'tab_B', 'soon']);
  const done = take(10, 'tool_call.completed', { output: [1] });
  assert.deepEqual([done.status, done.output], ['completed', [1]]);
});

test('remembered is the title of a call that was approved so', () => {
  const state = folded(
    [
      'approval.requested',
      { approval: 'a_1', run: 'r_1', call: 'c_1', title: 'look', deadline: 'd' },
    ],
    [
      'approval.resolved',
      { approval: 'a_1', decision: 'approve', arguments: { b: 2 }, remember: true },
    ],
  );
  assert.deepEqual(state.remembered, ['look']);
  assert.deepEqual(state.approvals.a_1.arguments, { b: 2 });
});

test('only kept custom values stay', () => {
  const state = folded(
    ['custom', { name: 'a', value: 1, keep: true }],
    ['custom', { name: 'b', value: 2 }],
  );
  assert.deepEqual(state.custom, { a: 1 });
});

test('names that objects inherit are no ids of the state', () => {
  const state = folded(['tool_call.completed', { call: 'constructor', output: 1 }]);
  assert.deepEqual(state.calls, {});
});

test('parts of a newer kind are kept as they came, wherever they are', () => {
  const audio = { kind: 'audio', url: 'https://x.example/a.ogg', seconds: 3 };
  const parts = [{ kind: 'text', text: 'Listen:' }, audio];
  const state = fold(stateOf({ messages: [] }), [
    event(2, 'message.added', { message: 'm_1', role: 'user', parts }),
    event(3, 'run.queued', { run: 'r_1', content: parts }),
    event(4, 'message.started', { message: 'm_2', run: 'r_1' }),
    event(5, 'message.part', { message: 'm_2', part: 0, content: audio }),
    event(6, 'message.delta', { message: 'm_2', part: 1, kind: 'text', delta: 'hm' }),
  ]);
  assert.deepEqual(state?.messages[0].parts, parts);
  assert.deepEqual(state?.queue[0].content, parts);
  assert.deepEqual(state?.messages[1].parts, [audio, { kind: 'text', text: 'hm' }]);
});

test('S19: an index that no part can have changes nothing', () => {
  const content = { kind: 'text', text: 'x' };
  for (const part of [1e9, 65_536, -1, 1.5, '__proto__', null, NaN]) {
    const state = folded(
      STARTED,
      ['message.part', { message: 'm_2', part, content }],
      ['message.delta', { message: 'm_2', part, kind: 'text', delta: 'x' }],
      ['tool_call.started', { message: 'm_2', part, call: 'c_1', name: 'look', target: 'client' }],
    );
    assert.deepEqual(state.messages.at(-1).parts, []);
  }
});
