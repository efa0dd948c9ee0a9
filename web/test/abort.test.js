import assert from 'node:assert/strict';
import { test } from 'node:test';

import { deadline, limited, onAbort } from '../src/abort.js';
import { ManualClock } from './support.js';

const never = new Promise(() => {});

test('without limits it is the promise itself', async () => {
  const clock = new ManualClock();
  assert.equal(await limited(Promise.resolve(7), {}, clock), 7);
  await assert.rejects(limited(Promise.reject(new Error('own')), {}, clock), /own/);
});

test('time is up', async () => {
  const clock = new ManualClock();
  const late = assert.rejects(limited(never, { timeout_ms: 10 }, clock), { name: 'TimeoutError' });
  await clock.advance(10);
  await late;
});

test('what comes in time wins, and leaves no timer', async () => {
  const clock = new ManualClock();
  assert.equal(await limited(Promise.resolve(7), { timeout_ms: 10 }, clock), 7);
  await clock.advance(20);
});

test('a signal, alone or with a timeout, before or meanwhile', async () => {
  const clock = new ManualClock();
  const controller = new AbortController();
  const { signal } = controller;
  const both = assert.rejects(limited(never, { signal, timeout_ms: 10 }, clock), /enough/);
  const alone = assert.rejects(limited(never, { signal }, clock), /enough/);
  controller.abort(new Error('enough'));
  await Promise.all([both, alone]);
  await assert.rejects(limited(never, { signal, timeout_ms: 10 }, clock), /enough/);
  assert.equal(deadline({ signal, timeout_ms: 10 }, clock).signal?.aborted, true);
});

test('onAbort calls once, at once if it is late, never after it was left', () => {
  const controller = new AbortController();
  /** @type {unknown[]} */
  const heard = [];
  const leave = onAbort(controller.signal, () => heard.push('left'));
  leave();
  onAbort(controller.signal, (reason) => heard.push(reason));
  controller.abort('why');
  onAbort(controller.signal, (reason) => heard.push(reason));
  onAbort(undefined, () => heard.push('none'))();
  assert.deepEqual(heard, ['why', 'why']);
});
