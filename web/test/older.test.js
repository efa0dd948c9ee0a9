import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Older } from '../src/older.js';
import { stateOf } from './support.js';

/** @param {string[]} ids @returns {any[]} */
const messages = (...ids) => ids.map((id) => ({ id }));
const STATE = stateOf({ messages: messages('m_5', 'm_6'), more: true });

test('pages go before the state, the oldest first', () => {
  const older = new Older();
  assert.deepEqual([older.more(STATE), older.before(STATE)], [true, 'm_5']);
  older.add({ messages: messages('m_3', 'm_4'), more: true }, 'm_5', STATE);
  assert.equal(older.before(STATE), 'm_3');
  older.add({ messages: messages('m_1', 'm_2'), more: false }, 'm_3', STATE);
  assert.deepEqual(older.messages, messages('m_1', 'm_2', 'm_3', 'm_4'));
  assert.equal(older.more(STATE), false);
});

test('a page that comes twice, or too late, is dropped', () => {
  const older = new Older();
  older.add({ messages: messages('m_4'), more: true }, 'm_5', STATE);
  older.add({ messages: messages('m_4'), more: true }, 'm_5', STATE);
  assert.equal(older.messages.length, 1);
});

test('they go when the state begins elsewhere', () => {
  const older = new Older();
  older.add({ messages: messages('m_4'), more: false }, 'm_5', STATE);
  older.keep({ ...STATE, seq: 9 });
  assert.equal(older.messages.length, 1);
  older.keep({ ...STATE, messages: messages('m_6') });
  assert.deepEqual([older.messages, older.more(STATE)], [[], true]);
  older.keep(STATE);
  assert.equal(older.more(null), false);
});

test('a state without messages begins after the newest page', () => {
  const empty = stateOf({ more: true });
  const loaded = () => {
    const older = new Older();
    assert.deepEqual([older.more(empty), older.before(empty)], [true, undefined]);
    older.add({ messages: messages('m_4', 'm_5'), more: true }, undefined, empty);
    older.keep({ ...empty, seq: 9 });
    return older;
  };
  const older = loaded();
  assert.equal(older.before(empty), 'm_4');
  older.keep({ ...empty, messages: messages('m_6') });
  older.keep({ ...empty, messages: messages('m_6', 'm_7') });
  assert.deepEqual(older.messages, messages('m_4', 'm_5'));
  for (const ids of [['m_5'], ['m_5', 'm_6']]) {
    const other = loaded();
    other.keep({ ...empty, messages: messages(...ids) });
    assert.deepEqual(other.messages, []);
  }
});
