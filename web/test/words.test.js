import assert from 'node:assert/strict';
import { test } from 'node:test';

import { emptyState } from '../src/state.js';
import { activityOf, isVisible, newsOf, pretty, progressText, stateOf } from '../src/words.js';

/** @param {any} fields */
const state = (fields) => ({ ...emptyState('s'), ...fields });

test('what goes on', () => {
  assert.equal(activityOf(state({})), '');
  assert.equal(activityOf(state({ run: { status: 'running' } })), 'Working');
  assert.equal(
    activityOf(state({ run: { status: 'running', activity: 'web_search' } })),
    'Web search',
  );
  const run = { status: 'waiting', on: ['a'] };
  assert.equal(activityOf(state({ run, approvals: { a: {} } })), 'Waiting for your decision');
  const calls = { a: { name: 'scan' } };
  assert.equal(activityOf(state({ run, calls })), 'Waiting for scan in the browser');
  assert.equal(activityOf(state({ queue: [{}] })), 'Starting');
});

test('what a call does', () => {
  /** @param {any} call @param {boolean} [asking] */
  const told = (call, asking = false) => stateOf(call, asking).state;
  assert.equal(told({ status: 'requested', target: 'client' }, true), 'asking');
  assert.equal(told({ status: 'requested', target: 'client' }), 'requested');
  assert.equal(told({ status: 'requested', target: 'server' }), 'running');
  assert.equal(told({ status: 'completed' }), 'done');
  assert.equal(told({ status: 'completed', error: { code: 'tool.denied' } }), 'denied');
  assert.equal(told({ status: 'completed', error: { code: 'tool.failed' } }), 'failed');
});

test('few things are counted and many are a share', () => {
  assert.equal(progressText({ current: 2, total: 5, text: 'pages' }), '2 of 5 pages');
  assert.equal(progressText({ current: 50, total: 200, text: 'kB' }), 'kB · 25 %');
  assert.equal(progressText({ text: 'reading' }), 'reading');
});

test('only what is complete or asked is news', () => {
  const message = { id: 'm', role: 'assistant', parts: [{ kind: 'text', text: '**Yes**' }] };
  assert.equal(newsOf(state({ messages: [{ ...message, status: 'open' }] })), null);
  assert.deepEqual(newsOf(state({ messages: [{ ...message, status: 'complete' }] })), {
    key: 'm',
    text: 'Yes',
  });
  const approvals = { a: { id: 'a', title: 'pay' } };
  assert.equal(newsOf(state({ approvals }))?.key, 'a');
});

test('parts without a word, and values', () => {
  assert.equal(isVisible({ kind: 'hidden' }), false);
  assert.equal(isVisible({ kind: 'text', text: ' \n' }), false);
  assert.equal(isVisible({ kind: 'tool_call', call: 'c' }), true);
  assert.equal(pretty(undefined), 'null');
  assert.equal(pretty({ a: 1 }), '{\n  "a": 1\n}');
});
