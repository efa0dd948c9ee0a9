import assert from 'node:assert/strict';
import { test } from 'node:test';

import { ACK_MS, HELLO, Subscription } from '../src/subscription.js';
import { subscribed } from './support.js';

/** @param {Record<string, any>} [fields] */
function open(fields) {
  const subscription = new Subscription('s_1', { detail: 'full', tools: ['look'] });
  subscription.expect('k_1');
  subscription.subscribed(subscribed({ id: 'k_1', ...fields }));
  return subscription;
}

/** @param {number} seq @param {number} [from_seq] */
function delta(seq, from_seq) {
  return { type: 'message.delta', seq, ...(from_seq === undefined ? {} : { from_seq }) };
}

test('a first request has no place, a later one has', () => {
  const subscription = new Subscription('s_1', { detail: 'full' });
  assert.deepEqual(subscription.wish(), { session: 's_1', detail: 'full', window: 512 });
  subscription.subscribed(subscribed({ seq: 7 }));
  assert.deepEqual(subscription.wish(), {
    session: 's_1',
    after: 7,
    epoch: 'e_1',
    detail: 'full',
    window: 512,
  });
});

test('each event is applied once, in order', () => {
  const subscription = open({ seq: 3 });
  const verdicts = [delta(3), delta(4), delta(4), delta(5), delta(2)].map((frame) =>
    subscription.receive(frame, 0),
  );
  assert.deepEqual(verdicts, ['drop', 'apply', 'drop', 'apply', 'drop']);
  assert.equal(subscription.seq, 5);
});

test('a merged event that follows is applied, one that straddles the cursor is not', () => {
  const subscription = open({ seq: 3 });
  assert.equal(subscription.receive(delta(6, 4), 0), 'apply');
  assert.equal(subscription.receive(delta(8, 6), 0), 'lost');
  assert.equal(subscription.seq, 6);
});

test('a hole is a loss only where the detail is dense', () => {
  assert.equal(open({ seq: 3 }).receive(delta(5), 0), 'lost');
  assert.equal(open({ seq: 3, detail: 'answer' }).receive(delta(50), 0), 'apply');
});

test('a cursor frame moves the cursor over what is hidden, and is not counted', () => {
  const subscription = open({ seq: 3, detail: 'answer' });
  assert.equal(subscription.receive({ type: 'cursor', seq: 281 }, 0), 'drop');
  assert.equal(subscription.seq, 281);
  assert.equal(subscription.ack(ACK_MS), null);
});

test('a cursor frame ahead of a full subscription shows a loss', () => {
  const subscription = open({ seq: 3 });
  assert.equal(subscription.receive({ type: 'cursor', seq: 3 }, 0), 'drop');
  assert.equal(subscription.receive({ type: 'cursor', seq: 4 }, 0), 'lost');
});

test('until a request is answered, what comes is from before', () => {
  const subscription = open({ seq: 3 });
  subscription.expect('k_2');
  assert.equal(subscription.receive(delta(4), 0), 'drop');
  assert.equal(subscription.subscribed(subscribed({ id: 'k_1', seq: 9 })), 'ignored');
  const outcome = subscription.subscribed(subscribed({ id: 'k_2', seq: 3, recovered: true }));
  assert.equal(outcome, 'recovered');
  assert.equal(subscription.receive(delta(4), 0), 'apply');
});

test('a new epoch, said without being asked, resets the place', () => {
  const subscription = open({ seq: 30 });
  assert.equal(subscription.subscribed(subscribed({ seq: 2, epoch: 'e_2' })), 'reset');
  assert.deepEqual([subscription.epoch, subscription.seq], ['e_2', 2]);
  assert.equal(subscription.receive(delta(3), 0), 'apply');
});

test('recovered elsewhere, or in a detail that was not asked for, is lost', () => {
  for (const other of [{ epoch: 'e_2' }, { seq: 4 }, { detail: 'steps' }]) {
    const subscription = open({ seq: 3 });
    subscription.expect(HELLO);
    const frame = subscribed({ seq: 3, recovered: true, ...other });
    assert.equal(subscription.subscribed(frame), 'lost', JSON.stringify(other));
    assert.ok(!('after' in subscription.wish()));
    assert.equal(subscription.receive(delta(4), 0), 'drop');
  }
});

test('a detail that was asked for goes on from the place', () => {
  const subscription = open({ seq: 3 });
  subscription.change({ detail: 'answer', tools: ['look'] });
  subscription.expect('k_2');
  assert.equal(subscription.wish().after, 3);
  const frame = subscribed({ id: 'k_2', seq: 3, recovered: true, detail: 'answer' });
  assert.equal(subscription.subscribed(frame), 'recovered');
  assert.equal(subscription.receive(delta(9), 0), 'apply');
});

test('other tools need a new state unless everything is seen', () => {
  for (const tools of [undefined, [], ['work'], ['look', 'work']]) {
    const some = open({ seq: 3, detail: 'answer' });
    some.change({ tools });
    assert.ok(!('after' in some.wish()), `${tools}`);
    const all = open({ seq: 3 });
    all.change({ tools });
    assert.deepEqual([all.wish().after, all.wish().tools], [3, tools]);
  }
  const same = open({ seq: 3, detail: 'answer' });
  same.change({ tools: ['look', 'look'] });
  assert.equal(same.wish().after, 3);
});

test('an outdated answer to hello is no news, the next one is', () => {
  const subscription = open({ seq: 3 });
  subscription.outdated = true;
  subscription.expect('k_2');
  const frame = subscribed({ seq: 9, detail: 'steps' });
  assert.equal(subscription.subscribed(frame), 'ignored');
  assert.deepEqual([subscription.seq, subscription.granted], [3, 'full']);
  assert.equal(subscription.subscribed(frame), 'reset');
});

test('acks come after 32 frames or 250 ms', () => {
  const subscription = open({ seq: 0 });
  for (let seq = 1; seq <= 31; seq++) subscription.receive(delta(seq), 10);
  assert.equal(subscription.ack(10), null);
  subscription.receive(delta(32), 10);
  assert.deepEqual(subscription.ack(10), { type: 'ack', session: 's_1', seq: 32 });
  assert.equal(subscription.ack(10_000), null);
  subscription.receive(delta(33), 100);
  assert.equal(subscription.ackAt, 100 + ACK_MS);
  assert.equal(subscription.ack(349), null);
  assert.deepEqual(subscription.ack(350), { type: 'ack', session: 's_1', seq: 33 });
});
