import assert from 'node:assert/strict';
import { test } from 'node:test';

import { batched } from '../src/batch.js';
import { ManualClock } from './support.js';

test('without frames, many requests make one call per 16 ms', async () => {
  const clock = new ManualClock();
  let calls = 0;
  const ask = batched(() => calls++, { clock });
  ask();
  ask();
  await clock.advance(15);
  assert.equal(calls, 0);
  await clock.advance(1);
  assert.equal(calls, 1);
  await clock.advance(100);
  ask();
  await clock.advance(16);
  assert.equal(calls, 2);
});

test('a frame comes first and the timer is dropped', async () => {
  const clock = new ManualClock();
  /** @type {(() => void)[]} */
  const frames = [];
  let calls = 0;
  const ask = batched(() => calls++, { clock, requestFrame: (callback) => frames.push(callback) });
  ask();
  frames[0]();
  await clock.advance(1000);
  assert.equal(calls, 1);
});

test('a hidden tab, which gets no frames, is served by the timer', async () => {
  const clock = new ManualClock();
  /** @type {any[]} */
  const cancelled = [];
  let calls = 0;
  const ask = batched(() => calls++, {
    clock,
    requestFrame: () => 7,
    cancelFrame: (frame) => cancelled.push(frame),
  });
  ask();
  await clock.advance(250);
  assert.equal(calls, 1);
  assert.deepEqual(cancelled, [7]);
});
