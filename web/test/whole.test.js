import assert from 'node:assert/strict';
import { test } from 'node:test';

import { textOf, updatesOf, whole } from '../src/whole.js';

/**
 * @param {string} text
 * @param {string} [status]
 * @returns {any}
 */
function message(text, status = 'open') {
  const parts = [
    { kind: 'thinking', text: 'Hm.' },
    { kind: 'text', text: 'So' },
    { kind: 'tool_call', call: 'c' },
    { kind: 'text', text },
  ];
  return { id: 'm_1', role: 'assistant', status, time: '', parts };
}

test('a text is all parts of its kind', () => {
  assert.equal(textOf(message(', there')), 'So, there');
  assert.equal(textOf(message(''), 'thinking'), 'Hm.');
  assert.deepEqual([whole(message('!')).text, whole(message('!')).done], ['So!', false]);
});

test('only what is new is told', () => {
  const said = (/** @type {any[]} */ ...versions) =>
    updatesOf(versions[0], versions[1]).map(({ type, content, done }) => [type, content, done]);
  assert.deepEqual(said(message('')), [
    ['thinking', 'Hm.', false],
    ['text', 'So', false],
  ]);
  assert.deepEqual(said(message('!'), message('')), [['text', 'So!', false]]);
  assert.deepEqual(said(message('!'), message('!')), []);
  assert.deepEqual(said(message('!', 'complete'), message('!')), [['text', 'So!', true]]);
});
