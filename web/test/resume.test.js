/**
 * What resuming is for, against a model of the gateway: whatever is lost, merged, sent twice or
 * forgotten on the way, the state that the client folds is the state that the gateway holds.
 */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Connection } from '../src/connection.js';
import { apply } from '../src/state.js';
import { counting, event, lines, stateOf, subscribed, WELCOME } from './support.js';

const ROUNDS = 300;
const STEPS = 60;

/** @typedef {import('../src/types.js').AnyFrame} AnyFrame */

/**
 * Numbers in [0, 1) that are the same for the same seed (Lehmer's generator).
 * @param {number} seed
 */
function numbers(seed) {
  let value = seed * 7919 + 1;
  return () => (value = (value * 48271) % 2147483647) / 2147483647;
}

/** A session's log, with one open message that grows. */
class Model {
  epoch = 1;
  kept = 0;
  /** @type {AnyFrame[]} */
  log = [];
  /** @type {any} */
  state = stateOf({ seq: 0, epoch: 'e_1' });

  constructor() {
    this.append('message.started', { message: 'm_1', run: 'r_1' });
  }

  /** @param {string} type @param {Record<string, any>} fields */
  append(type, fields) {
    const added = event(this.state.seq + 1, type, fields);
    this.log.push(added);
    this.state = apply(this.state, added);
    return added;
  }

  grow() {
    const fields = { message: 'm_1', part: 0, kind: 'text', delta: `<${this.state.seq}>` };
    return this.append('message.delta', fields);
  }

  /** The log is lost: the state goes on in another epoch. */
  forget() {
    this.epoch += 1;
    this.kept = this.state.seq;
    this.state = { ...this.state, epoch: `e_${this.epoch}` };
  }

  /** Answer a subscription. @param {AnyFrame} request @param {boolean} merge @returns {AnyFrame[]} */
  subscribe({ id, after, epoch }, merge) {
    const { seq } = this.state;
    const base = { ...(id ? { id } : {}), epoch: `e_${this.epoch}` };
    const known = epoch === base.epoch && after >= this.kept && after <= seq;
    if (!known) return [subscribed({ ...base, seq, state: this.state })];
    const rest = this.log.slice(after);
    const replay = merge ? merged(rest) : rest;
    const end = { type: 'cursor', session: 's_1', seq };
    return [subscribed({ ...base, seq: after, recovered: true }), ...replay, end];
  }
}

/** @param {AnyFrame[]} events adjacent deltas as one @returns {AnyFrame[]} */
function merged(events) {
  const deltas = events.filter(({ type }) => type === 'message.delta');
  if (deltas.length < 2 || deltas.length < events.length) return events;
  const last = /** @type {AnyFrame} */ (deltas.at(-1));
  return [{ ...last, from_seq: deltas[0].seq, delta: deltas.map(({ delta }) => delta).join('') }];
}

/** One life of a client. @param {number} seed */
function live(seed) {
  const random = numbers(seed);
  const model = new Model();
  const machine = new Connection({ client: 'tab_A', random, makeId: counting() });
  /** @type {AnyFrame[]} */
  let wire = [];
  /** @type {any} */
  let state = null;
  let now = 0;

  /** @param {import('../src/connection.js').Input} input */
  function step(input) {
    for (const effect of machine.step(input, now)) {
      if (effect.type === 'reset') state = effect.state;
      if (effect.type === 'event') {
        assert.equal(effect.event.from_seq ?? effect.event.seq, state.seq + 1);
        state = apply(state, effect.event);
      }
      if (effect.type === 'connect') step({ type: 'opened', socket: effect.socket });
      if (effect.type === 'send') effect.text.split('\n').forEach((line) => hear(JSON.parse(line)));
    }
  }

  /** @param {AnyFrame} frame */
  function hear(frame) {
    if (frame.type === 'hello') wire = [WELCOME];
    const requests = frame.type === 'hello' ? (frame.sessions ?? []) : [frame];
    if (frame.type !== 'hello' && frame.type !== 'session.subscribe') return;
    for (const request of requests) wire.push(...model.subscribe(request, random() < 0.5));
  }

  /** Deliver what is under way, in one message. */
  function deliver() {
    while (wire.length && machine.current !== null) {
      const text = lines(...wire.splice(0));
      step({ type: 'text', socket: machine.current, text });
    }
  }

  function lose() {
    wire = [];
    if (machine.current !== null) {
      step({ type: 'closed', socket: machine.current, code: 1006, reason: '' });
    }
    now = machine.deadline;
    step({ type: 'tick' });
  }

  step({ type: 'start' });
  step({ type: 'subscribe', session: 's_1', options: { detail: 'full' } });
  for (let count = 0; count < STEPS; count++) {
    const chance = random();
    if (chance < 0.6) wire.push(model.grow());
    else if (chance < 0.7) model.grow();
    else if (chance < 0.73 && wire.length > 1) wire.push(wire[wire.length - 1]);
    // A merged one whose first half may have come already.
    else if (chance < 0.78) wire.push(...merged([model.grow(), model.grow()]));
    else if (chance < 0.8 && model.log.length > 3) wire.push(...merged(model.log.slice(-2)));
    else if (chance < 0.85) lose();
    else if (chance < 0.88) {
      model.forget();
      wire.push(subscribed({ epoch: model.state.epoch, seq: model.state.seq, state: model.state }));
    } else deliver();
  }
  lose();
  deliver();
  assert.deepEqual(state, model.state);
}

test('the client ends with the state of the gateway, whatever happens on the way', () => {
  for (let seed = 1; seed <= ROUNDS; seed++) live(seed);
});
