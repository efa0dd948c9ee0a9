import assert from 'node:assert/strict';
import { test } from 'node:test';

import { keepMessages, pick, withCall, withLiveRun, withMessage, withRun } from '../src/revise.js';
import { stateOf } from './support.js';

const never = () => assert.fail('changed what is not there');

test('what the state lacks leaves it as it is', () => {
  const state = stateOf();
  assert.equal(withMessage(state, 'm_9', never), state);
  assert.equal(withCall(state, 'toString', never), state);
  assert.equal(withRun(state, 'r_9', never), state);
  assert.equal(withLiveRun(state, 'r_9', never), state);
  assert.equal(
    keepMessages(state, () => false),
    state,
  );
});

test('a queued run is found where it waits', () => {
  const queue = [
    { id: 'r_1', status: 'queued', attempt: 0, seq: 1 },
    { id: 'r_2', status: 'queued', attempt: 0, seq: 2 },
  ];
  const state = withRun(stateOf({ queue }), 'r_2', (run) => ({ ...run, activity: 'waiting' }));
  assert.deepEqual(
    state.queue.map((run) => run.activity),
    [undefined, 'waiting'],
  );
  assert.equal(state.queue[0], queue[0]);
});

test('null is no value', () => {
  assert.deepEqual(pick({ a: null, b: undefined, c: 0, d: false }, 'a', 'b', 'c', 'd'), {
    c: 0,
    d: false,
  });
});
