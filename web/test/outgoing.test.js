import assert from 'node:assert/strict';
import { test } from 'node:test';

import { shown, unseen } from '../src/outgoing.js';
import { stateOf } from './support.js';

/** @param {string} id @param {string} [status] */
function message(id, status = 'complete') {
  return /** @type {any} */ ({ id, role: 'user', status, time: '', parts: [] });
}

/** @param {string} id @param {string} [after] @param {string} [status] */
function own(id, after, status = 'sending') {
  return { message: message(id, status), after, fields: { content: '', message: id } };
}

/** @param {readonly {id: string}[]} messages */
const ids = (messages) => messages.map(({ id }) => id);

test('what the state has, as a message or in the queue, is not under way', () => {
  const queue = [{ id: 'r', trigger: 'm_2' }];
  const state = stateOf({ messages: [message('m_1')], queue });
  const outgoing = [own('m_1'), own('m_2'), own('m_3')];
  assert.deepEqual(unseen(outgoing, state), [outgoing[2]]);
  assert.equal(unseen(outgoing, null), outgoing);
  const other = [own('m_9')];
  assert.equal(unseen(other, state), other);
});

test('what was stored and is not in the state any more is not under way', () => {
  const stored = { ...own('m_1'), stored: { seq: 50, epoch: 'e_1' } };
  assert.equal(unseen([stored], stateOf({ seq: 49 })).length, 1);
  assert.deepEqual(unseen([stored], stateOf({ seq: 50 })), []);
  assert.deepEqual(unseen([stored], stateOf({ seq: 45, epoch: 'e_2' })), []);
});

test('older ones, the state, what waits, and what is under way', () => {
  const queue = [
    { id: 'r_1', trigger: 'm_3', content: [{ kind: 'text', text: 'x' }], by: 'me', metadata: {} },
    { id: 'r_2', input: 1 },
  ];
  const state = stateOf({ messages: [message('m_2')], queue });
  const all = shown([message('m_1')], state, [own('m_4')]);
  assert.deepEqual(ids(all), ['m_1', 'm_2', 'm_3', 'm_4']);
  assert.deepEqual(
    all.map(({ status }) => status),
    ['complete', 'complete', 'queued', 'sending'],
  );
  assert.deepEqual(shown([], null, []), []);
});

test('what will be gone is not shown any more, unless the edit was refused', () => {
  const state = stateOf({ messages: ['m_1', 'm_2', 'm_3'].map((id) => message(id)) });
  assert.deepEqual(ids(shown([], state, [own('m_4', 'm_1')])), ['m_1', 'm_4']);
  const refused = shown([], state, [own('m_4', 'm_1', 'refused')]);
  assert.deepEqual(ids(refused), ['m_1', 'm_2', 'm_3', 'm_4']);
});
