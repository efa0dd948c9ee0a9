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
const STEPS = 120;

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

/** One socket as the gateway sees it; `live` once it is subscribed. */
class Wire {
  live = false;
  /** @type {AnyFrame[]} */
  up = [];
  /** @type {AnyFrame[]} */
  down = [];
}

/** One life of a client, between a network and a gateway that do to it what they can. */
class Life {
  now = 0;
  /** @type {any} */
  state = null;
  /** @type {Map<number, Wire>} those that are open, by their number */
  wires = new Map();
  /** @type {Map<string, number>} command id -> seq, as the gateway stored it */
  stored = new Map();
  /** @type {Map<string, number>} command id -> seq, as it was answered */
  answered = new Map();
  /** @type {Set<string>} */
  given = new Set();
  model = new Model();

  /** @param {number} seed */
  constructor(seed) {
    this.random = numbers(seed);
    const { random } = this;
    this.machine = new Connection({ client: 'tab_A', random, makeId: counting() });
    this.step({ type: 'start' });
    this.step({ type: 'subscribe', session: 's_1', options: { detail: 'full' } });
  }

  /** @param {import('../src/connection.js').Input} input */
  step(input) {
    for (const effect of this.machine.step(input, this.now)) {
      if (effect.type === 'reset') this.state = effect.state;
      if (effect.type === 'event') this.apply(effect.event);
      if (effect.type === 'close') this.wires.delete(effect.socket);
      if (effect.type === 'answer') {
        assert.ok(!this.answered.has(effect.id), `${effect.id} was answered twice`);
        this.answered.set(effect.id, /** @type {any} */ (effect.frame).seq);
      }
      if (effect.type === 'send') {
        const frames = effect.text.split('\n').map((line) => JSON.parse(line));
        this.wires.get(effect.socket)?.up.push(...frames);
      }
    }
  }

  /** @param {import('../src/types.js').SessionEvent} event */
  apply(event) {
    assert.equal(event.from_seq ?? event.seq, this.state.seq + 1);
    this.state = apply(this.state, event);
  }

  /** @param {AnyFrame[]} frames */
  publish(...frames) {
    for (const wire of this.wires.values()) if (wire.live) wire.down.push(...frames);
  }

  /** The gateway takes what a socket brought. @param {Wire} wire */
  hear(wire) {
    for (const frame of wire.up.splice(0)) {
      if (frame.type === 'hello') wire.down.push(WELCOME);
      const asked = frame.type === 'session.subscribe' ? [frame] : (frame.sessions ?? []);
      for (const request of asked) {
        wire.live = true;
        wire.down.push(...this.model.subscribe(request, this.random() < 0.5));
      }
      if (frame.type === 'message.send') this.store(wire, /** @type {string} */ (frame.id));
    }
  }

  /** @param {Wire} wire @param {string} id */
  store(wire, id) {
    if (!this.stored.has(id)) {
      const added = this.model.grow();
      this.stored.set(id, added.seq);
      this.publish(added);
    }
    wire.down.push({ type: 'ok', id, seq: this.stored.get(id) });
  }

  open() {
    const { next } = this.machine;
    if (next === null || this.wires.has(next)) return;
    this.wires.set(next, new Wire());
    this.step({ type: 'opened', socket: next });
  }

  /** What is under way on one socket arrives. @param {number} socket @param {Wire} wire */
  deliver(socket, wire) {
    if (!wire.down.length) return;
    this.step({ type: 'text', socket, text: lines(...wire.down.splice(0)) });
  }

  /** Everything under way arrives, on all sockets. */
  carry() {
    this.open();
    for (const [socket, wire] of this.wires) {
      this.hear(wire);
      this.deliver(socket, wire);
    }
  }

  /** Something moves a little. */
  trickle() {
    this.open();
    for (const [socket, wire] of this.wires) {
      if (this.random() < 0.5) this.hear(wire);
      if (this.random() < 0.3) this.deliver(socket, wire);
    }
  }

  /** @param {number | null} socket @param {number} code */
  lose(socket, code) {
    if (socket === null) return;
    this.wires.delete(socket);
    this.step({ type: 'closed', socket, code, reason: '' });
  }

  /** Nothing happens until the machine wants its tick. */
  wait() {
    this.now = Math.max(this.now, Math.min(this.machine.deadline, this.now + 60_000));
    this.step({ type: 'tick' });
  }

  command() {
    const id = `k_send_${this.given.size}`;
    this.given.add(id);
    this.step({
      type: 'command',
      frame: { type: 'message.send', id, session: 's_1', content: 'hi' },
    });
  }

  /** What may happen, each by its weight. */
  get fates() {
    const { machine, model } = this;
    /** @type {[number, () => void][]} */
    return [
      [20, () => this.publish(model.grow())],
      [20, () => this.trickle()],
      [4, () => model.grow()],
      [3, () => this.publish(...model.log.slice(-1))],
      // A merged one whose first half may have come already.
      [3, () => this.publish(...merged([model.grow(), model.grow()]))],
      [2, () => this.publish(...merged(model.log.slice(-2)))],
      [6, () => this.command()],
      [3, () => this.lose(machine.current, 1006)],
      [2, () => this.lose(machine.next, 1012)],
      // Superseded by its own successor, as N8 of the list of faults.
      [machine.greeted === null ? 0 : 4, () => this.lose(machine.current, 4409)],
      [4, () => this.publish({ type: 'goaway', reason: 'restart', reconnect_after_ms: 50 })],
      [5, () => this.wait()],
      [1, () => this.step({ type: 'hint' })],
      [1, () => this.step({ type: 'online', online: this.random() < 0.7 })],
      [
        2,
        () => {
          model.forget();
          const { epoch, seq } = model.state;
          this.publish(subscribed({ epoch, seq, state: model.state }));
        },
      ],
    ];
  }

  chance() {
    const { fates } = this;
    let at = this.random() * fates.reduce((sum, [weight]) => sum + weight, 0);
    for (const [weight, happen] of fates) {
      at -= weight;
      if (at < 0) return happen();
    }
  }

  /** The network is good from now on. */
  settle() {
    this.lose(this.machine.current, 1006);
    for (let turn = 0; turn < 20; turn++) {
      this.carry();
      if (this.machine.status !== 'open') this.wait();
    }
  }
}

test('the client ends with the state of the gateway, whatever happens on the way', () => {
  for (let seed = 1; seed <= ROUNDS; seed++) {
    const life = new Life(seed);
    for (let count = 0; count < STEPS; count++) life.chance();
    life.settle();
    assert.deepEqual(life.state, life.model.state, `seed ${seed}`);
    assert.deepEqual([...life.answered.keys()].sort(), [...life.given].sort(), `seed ${seed}`);
    assert.deepEqual(life.answered, life.stored, `seed ${seed}`);
    assert.equal(life.machine.pending.size, 0);
  }
});

test('a move ahead of a loss is never seen: the connection stays open all the time', () => {
  for (let seed = 1; seed <= ROUNDS; seed++) {
    const life = new Life(seed);
    life.carry();
    life.carry();
    const states = new Set();
    for (let count = 0; count < STEPS; count++) {
      const chance = life.random();
      if (chance < 0.3) life.publish(life.model.grow());
      else if (chance < 0.4) life.command();
      else if (chance < 0.5) {
        life.publish({ type: 'goaway', reason: 'restart', reconnect_after_ms: 0 });
      } else if (chance < 0.6) life.step({ type: 'tick' });
      else life.trickle();
      states.add(life.machine.status);
    }
    assert.deepEqual([...states], ['open']);
    for (let turn = 0; turn < 5; turn++) life.carry();
    assert.deepEqual(life.state, life.model.state, `seed ${seed}`);
    assert.deepEqual(life.answered, life.stored, `seed ${seed}`);
  }
});
