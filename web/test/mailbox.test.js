import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Mailbox } from '../src/mailbox.js';

/** @param {Mailbox<unknown>} mailbox */
async function all(mailbox) {
  const values = [];
  for await (const value of mailbox) values.push(value);
  return values;
}

test('values come in order, before or after they are asked for', async () => {
  const mailbox = new Mailbox();
  const [first, second] = [mailbox.next(), mailbox.next()];
  mailbox.add(1);
  mailbox.add(2);
  mailbox.add(3);
  assert.deepEqual(
    [await first, await second],
    [1, 2].map((value) => ({ done: false, value })),
  );
  assert.equal(mailbox.backlog, 1);
  mailbox.end();
  assert.deepEqual(await all(mailbox), [3]);
});

test('an error comes after what waits, and once', async () => {
  const mailbox = new Mailbox();
  mailbox.add(1);
  mailbox.end(new Error('own'));
  mailbox.add(2);
  assert.deepEqual(await mailbox.next(), { done: false, value: 1 });
  await assert.rejects(mailbox.next(), /own/);
  assert.equal((await mailbox.next()).done, true);
});

test('an abort drops what waits', async () => {
  const mailbox = new Mailbox();
  mailbox.add(1);
  mailbox.abort(new Error('own'));
  await assert.rejects(all(mailbox), /own/);
});

test('whoever leaves the loop ends it', async () => {
  let left = 0;
  const mailbox = new Mailbox(() => left++);
  mailbox.add(1);
  mailbox.add(2);
  for await (const _ of mailbox) break;
  assert.deepEqual([mailbox.over, mailbox.backlog, left], [true, 0, 1]);
  mailbox.end();
  assert.equal(left, 1);
});
