import assert from 'node:assert/strict';
import { test } from 'node:test';

import { realClock, wait } from '../src/clock.js';
import { ManualClock, settled } from './support.js';

test('waits by the clock it is given', async () => {
  const clock = new ManualClock();
  let over = false;
  void wait(clock, 100, new AbortController().signal).then(() => (over = true));
  await clock.advance(99);
  assert.ok(!over);
  await clock.advance(1);
  await settled();
  assert.ok(over);
});

test('an abort ends the wait, before it or during it', async () => {
  const controller = new AbortController();
  const during = wait(new ManualClock(), 100, controller.signal);
  controller.abort();
  await during;
  await wait(new ManualClock(), 100, controller.signal);
});

test('the real clock does not go back', () => {
  const before = realClock.now();
  assert.ok(realClock.now() >= before);
});
