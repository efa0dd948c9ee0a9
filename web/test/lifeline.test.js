/** Sockets come and go without a word being said; what is said is tested with `connection`. */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Lifeline, OPENING_MS, SIGNS, SILENCE_MS } from '../src/lifeline.js';

/** @typedef {import('../src/types.js').AnyFrame} AnyFrame */

/** A life of which only sockets are looked at, with a hand on its clock. */
class Mute extends Lifeline {
  now = 0;
  /** @type {AnyFrame[]} */
  said = [];
  refused = '';

  /** @param {boolean} [renewable] */
  constructor(renewable = false) {
    super(renewable, () => 0.5);
  }

  /** @param {string} [token] */
  greeting(token) {
    return { hello: { type: 'hello', token }, greeted: new Map() };
  }

  deliver() {}

  /** @param {AnyFrame} frame */
  send(frame) {
    this.said.push(frame);
  }

  /** @param {{code: string, message: string}} error */
  refusePending({ code }) {
    this.refused = code;
  }

  /** @param {import('../src/steps.js').Input} input */
  take(input) {
    const sign = /** @type {any} */ (SIGNS)[input.type];
    sign(this, input, this.now);
    this.report();
    return this.effects.splice(0).map((effect) => effect.type);
  }

  /** Until something is due. */
  wait() {
    this.now = this.deadline;
    return this.take({ type: 'tick' });
  }

  /** @param {boolean} [renewable] */
  static welcomed(renewable) {
    const life = new Mute(renewable);
    life.take({ type: 'start' });
    life.take({ type: 'opened', socket: 1, token: 'token' });
    life.welcome(life.now);
    return life;
  }
}

test('it begins, and closed before the welcome it stays closed', () => {
  const life = new Mute();
  assert.deepEqual([life.status, life.deadline], ['closed', Infinity]);
  assert.ok(life.take({ type: 'start' }).includes('connect'));
  assert.deepEqual([life.status, life.deadline], ['connecting', OPENING_MS]);
  life.take({ type: 'opened', socket: 1, token: 'token' });
  assert.deepEqual(life.said, [{ type: 'hello', token: 'token' }]);
  assert.ok(life.take({ type: 'stop' }).includes('close'));
  assert.deepEqual([life.status, life.deadline], ['closed', Infinity]);
  assert.equal(life.refused, 'client.closed');
});

test('silence is a loss, and the next try is opened when it is due', () => {
  const life = Mute.welcomed();
  assert.equal(life.deadline, SILENCE_MS);
  assert.ok(life.wait().includes('close'));
  assert.equal(life.status, 'resuming');
  assert.ok(life.deadline > life.now);
  assert.ok(life.wait().includes('connect'));
});

test('a token that ended is final unless there are others', () => {
  for (const renewable of [true, false]) {
    const life = Mute.welcomed(renewable);
    life.take({ type: 'closed', socket: 1, code: 4401, reason: 'Ended.' });
    assert.equal(life.status, renewable ? 'resuming' : 'closed');
  }
});
