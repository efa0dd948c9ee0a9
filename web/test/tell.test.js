import assert from 'node:assert/strict';
import { test } from 'node:test';
import { tellAll } from '../src/tell.js';
import { ManualClock } from './support.js';

test('one that throws keeps no other from hearing, and is reported', async () => {
  const clock = new ManualClock();
  /** @type {unknown[]} */
  const heard = [];
  /** @type {(...news: number[]) => void} */
  const hear = (...news) => heard.push(news);
  const failing = () => {
    throw new Error('mine');
  };
  tellAll([hear, failing, hear], clock, 1, 2);
  assert.deepEqual(heard, [
    [1, 2],
    [1, 2],
  ]);
  await assert.rejects(clock.advance(0), /mine/);
});
