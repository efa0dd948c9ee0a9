/**
 * Which socket is in use, and when the next one is opened: the life of a connection, as values.
 *
 * Nothing of what is said on a socket: that is `connection`, which this is the lower half of. A
 * socket is a number. `current` is in use, `next` is being opened. After a loss, or ahead of it
 * when the gateway says `goaway`, `next` takes over: by its `hello`, or while `current` lives by
 * its `welcome`. Losses back off; a final close code, or `stop`, ends it until the next `start`.
 */

import { delay, isFinal } from './backoff.js';
import { wireText } from './wire.js';

export const SILENCE_MS = 45_000;
export const PROBE_MS = 5_000;
export const OPENING_MS = 10_000;
export const STEADY_MS = 5_000;
const LOST = 1006;
const TOKEN_ENDED = 4401;
const SUPERSEDED = 4409;

/** @typedef {import('./types.js').AnyFrame} AnyFrame */
/** @typedef {import('./types.js').Status} Status */
/** @typedef {import('./steps.js').Input} Input */
/** @typedef {import('./steps.js').Effect} Effect */
/** @typedef {import('./subscription.js').Subscription} Subscription */

/**
 * @typedef {Map<string, {asked: Subscription, options: import('./types.js').SubscriptionOptions}>}
 *   Greeted session id -> whom a `hello` asked for, and with which options
 */

/** @abstract */
export class Lifeline {
  /**
   * @param {boolean} renewable a new token can be had, so 4401 after a `welcome` is not final
   * @param {() => number} random
   */
  constructor(renewable, random) {
    this.renewable = renewable;
    this.random = random;
    /** @type {number | null} greeted with `hello`, and in use */
    this.current = null;
    /** @type {number | null} being opened, or awaiting its `welcome` while `current` lives */
    this.next = null;
    /** @type {Greeted | null} by the `hello` on `next`, while `current` lives */
    this.greeted = null;
    /** a `hello` went out elsewhere while `current` lives */
    this.superseded = false;
    this.sockets = 0;
    this.running = false;
    this.online = true;
    this.welcomed = false;
    this.everWelcomed = false;
    this.attempt = 0;
    this.code = 0;
    this.reason = '';
    this.retryAt = Infinity;
    this.openingUntil = Infinity;
    this.moveAt = Infinity;
    this.steadyAt = Infinity;
    this.heardAt = 0;
    this.probeUntil = Infinity;
    this.reported = '';
    /** @type {Effect[]} */
    this.effects = [];
  }

  /**
   * The first frame on a socket, and whom it asks for.
   * @abstract
   * @param {string} [_token]
   * @returns {{hello: AnyFrame, greeted: Greeted}}
   */
  greeting(_token) {
    throw new TypeError('abstract');
  }

  /**
   * `current` is new: say what its `hello` did not.
   * @abstract
   * @param {Greeted} _greeted
   */
  deliver(_greeted) {
    throw new TypeError('abstract');
  }

  /**
   * Say it on `current`.
   * @abstract
   * @param {AnyFrame} _frame
   */
  send(_frame) {
    throw new TypeError('abstract');
  }

  /**
   * Nothing more will be answered: answer what waits with this.
   * @abstract
   * @param {{code: string, message: string}} _error
   */
  refusePending(_error) {
    throw new TypeError('abstract');
  }

  /** When the next `tick` is due; Infinity: not before another input. */
  get deadline() {
    const due = Math.min(this.retryAt, this.openingUntil, this.moveAt);
    return this.current === null ? due : Math.min(due, this.heardAt + SILENCE_MS, this.probeUntil);
  }

  /** @returns {Status} */
  get status() {
    if (!this.running) return 'closed';
    if (this.current !== null && this.welcomed) return 'open';
    const idle = this.current === null && this.next === null;
    if (idle && (this.attempt > 1 || !this.online)) return 'offline';
    return this.everWelcomed ? 'resuming' : 'connecting';
  }

  /** @param {number} now */
  welcome(now) {
    this.welcomed = true;
    this.everWelcomed = true;
    this.openingUntil = Infinity;
    this.steadyAt = now + STEADY_MS;
  }

  /** @param {number} now */
  hear(now) {
    this.heardAt = now;
    this.probeUntil = Infinity;
  }

  /** Ask for a sign of life within PROBE_MS, after a hint that the network has changed. */
  probe(/** @type {number} */ now) {
    if (this.current === null) return;
    this.send({ type: 'ping' });
    this.probeUntil = Math.min(this.probeUntil, now + PROBE_MS);
  }

  report() {
    const retryAt = Number.isFinite(this.retryAt) ? this.retryAt : null;
    const { status } = this;
    const reported = `${status} ${retryAt}`;
    if (reported === this.reported) return;
    this.reported = reported;
    this.effects.push({ type: 'status', status, retryAt, code: this.code, reason: this.reason });
  }

  /** @param {number} now */
  open(now) {
    this.retryAt = Infinity;
    this.moveAt = Infinity;
    this.next = ++this.sockets;
    this.openingUntil = now + OPENING_MS;
    this.effects.push({ type: 'connect', socket: this.next });
  }

  /**
   * @param {'current' | 'next'} which
   */
  drop(which) {
    const socket = this[which];
    if (socket === null) return;
    this.forget(which);
    this.effects.push({ type: 'close', socket });
  }

  /** @param {'current' | 'next'} which */
  forget(which) {
    this[which] = null;
    if (which === 'current') {
      this.probeUntil = Infinity;
      return;
    }
    this.greeted = null;
    this.openingUntil = Infinity;
  }

  /**
   * `next` comes into use, before or with its `welcome`.
   * @param {number} now
   */
  promote(now) {
    const greeted = this.greeted ?? new Map();
    this.drop('current');
    this.current = this.next;
    this.next = null;
    this.greeted = null;
    this.superseded = false;
    this.heardAt = now;
    this.moveAt = Infinity;
    this.deliver(greeted);
  }

  /**
   * `current` is lost: what is under way takes over, or a try is over.
   * @param {number} code
   * @param {string} reason
   * @param {number} now
   */
  lose(code, reason, now) {
    this.forget('current');
    this.moveAt = Infinity;
    // Our own hello ended the old one, though its socket may be lost again meanwhile.
    const verdict = this.superseded && code === SUPERSEDED ? LOST : code;
    if (this.next === null || this.ends(verdict)) {
      this.openingUntil = Infinity;
      return this.fail(verdict, reason, now);
    }
    this.welcomed = false;
    if (this.greeted !== null) this.promote(now);
  }

  /**
   * Whether the client must not come back by itself.
   * @param {number} code
   */
  ends(code) {
    const renews = code === TOKEN_ENDED && this.renewable && this.welcomed;
    return isFinal(code) && !renews;
  }

  /**
   * A try is over: back off, or end for good.
   * @param {number} code
   * @param {string} reason
   * @param {number} now
   */
  fail(code, reason, now) {
    this.code = code;
    this.reason = reason;
    if (this.ends(code)) return this.end({ code: 'client.closed', message: reason });
    this.attempt = now >= this.steadyAt ? 1 : this.attempt + 1;
    this.steadyAt = Infinity;
    this.welcomed = false;
    this.moveAt = Infinity;
    this.retryAt = now + delay(this.attempt, code, this.random);
  }

  /**
   * No more tries; what has no answer yet gets one.
   * @param {{code: string, message: string}} error
   */
  end(error) {
    this.drop('next');
    this.drop('current');
    this.running = false;
    this.welcomed = false;
    this.retryAt = Infinity;
    this.openingUntil = Infinity;
    this.moveAt = Infinity;
    this.attempt = 0;
    this.refusePending(error);
  }
}

/** @typedef {'start' | 'stop' | 'opened' | 'closed' | 'tick' | 'hint' | 'online'} Sign */

/** @type {{[K in Sign]: (machine: Lifeline, input: Extract<Input, {type: K}>, now: number) => void}} */
export const SIGNS = {
  start(machine, _, now) {
    if (machine.running) return;
    machine.running = true;
    machine.open(now);
  },

  stop(machine) {
    machine.code = 1000;
    machine.reason = '';
    machine.end({ code: 'client.closed', message: 'The client was closed.' });
  },

  opened(machine, { socket, token }, now) {
    if (socket !== machine.next || machine.greeted !== null) return;
    machine.openingUntil = now + OPENING_MS;
    const { hello, greeted } = machine.greeting(token);
    if (machine.current !== null) {
      machine.greeted = greeted;
      machine.superseded = true;
      machine.effects.push({ type: 'send', socket, text: wireText(hello) });
      return;
    }
    machine.next = null;
    machine.current = socket;
    machine.superseded = false;
    machine.welcomed = false;
    machine.heardAt = now;
    machine.send(hello);
    machine.deliver(greeted);
  },

  closed(machine, { socket, code, reason }, now) {
    if (socket === machine.current) return machine.lose(code, reason, now);
    if (socket !== machine.next) return;
    machine.forget('next');
    // A move that failed is tried again while the old socket lives.
    if (machine.current === null || machine.ends(code)) {
      return machine.fail(code, reason, now);
    }
    machine.moveAt = now + delay(++machine.attempt, code, machine.random);
  },

  tick(machine, _, now) {
    if (now >= machine.retryAt) machine.open(now);
    else if (now >= machine.openingUntil) {
      machine.openingUntil = Infinity;
      machine.drop(machine.next === null ? 'current' : 'next');
      if (machine.current === null) machine.fail(LOST, 'The gateway did not answer.', now);
      else machine.moveAt = now + delay(++machine.attempt, 0, machine.random);
    }
    if (machine.current === null) return;
    if (now >= machine.moveAt && machine.next === null) machine.open(now);
    if (now >= Math.min(machine.heardAt + SILENCE_MS, machine.probeUntil)) {
      machine.drop('current');
      machine.lose(LOST, 'The connection fell silent.', now);
    }
  },

  hint(machine, _, now) {
    if (Number.isFinite(machine.retryAt)) machine.open(now);
    else machine.probe(now);
  },

  online(machine, { online }, now) {
    machine.online = online;
    if (online && Number.isFinite(machine.retryAt)) machine.open(now);
    else machine.probe(now);
  },
};
