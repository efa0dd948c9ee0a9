import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Outcomes } from '../src/outcomes.js';
import { stateOf } from './support.js';

/** @param {string} id @param {string} status @returns {any} */
const run = (id, status) => ({ id, status, attempt: 1, seq: 2 });
const LAUNCHED = { run: 'r_1', seq: 3 };

test('a run is over when it ended, or when it is nowhere', () => {
  const outcomes = new Outcomes();
  const over = (/** @type {any} */ fields) => outcomes.isOver(LAUNCHED, stateOf(fields));
  assert.equal(outcomes.isOver(LAUNCHED, null), false);
  assert.equal(over({ seq: 2 }), false);
  assert.equal(over({ seq: 3, queue: [run('r_1', 'queued')] }), false);
  assert.equal(over({ seq: 3, run: run('r_1', 'waiting') }), false);
  assert.equal(over({ seq: 3, run: run('r_1', 'failed') }), true);
  assert.equal(over({ seq: 3, run: run('r_2', 'running') }), true);
  assert.equal(outcomes.isOver({ seq: 3 }, null), true);
});

test('in another epoch a run that is nowhere is over, whatever the seq', () => {
  const outcomes = new Outcomes();
  const launched = { ...LAUNCHED, seq: 50, epoch: 'e_1' };
  assert.equal(outcomes.isOver(launched, stateOf({ seq: 45 })), false);
  assert.equal(outcomes.isOver(launched, stateOf({ seq: 45, epoch: 'e_2' })), true);
  const queue = [run('r_1', 'queued')];
  assert.equal(outcomes.isOver(launched, stateOf({ seq: 45, epoch: 'e_2', queue })), false);
});

test('how it ended is remembered when another run came', () => {
  const outcomes = new Outcomes();
  const ended = run('r_1', 'completed');
  outcomes.note(stateOf({ run: run('r_1', 'running') }));
  assert.equal(outcomes.of(LAUNCHED), null);
  outcomes.note(stateOf({ run: ended }));
  assert.equal(outcomes.of(LAUNCHED), ended);
  assert.equal(outcomes.isOver(LAUNCHED, null), true);
  for (let n = 2; n <= 257; n++) outcomes.note(stateOf({ run: run(`r_${n}`, 'cancelled') }));
  assert.equal(outcomes.of(LAUNCHED), null);
  assert.equal(outcomes.of({ run: 'r_2' })?.status, 'cancelled');
});
