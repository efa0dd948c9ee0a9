/**
 * The client's side of the protocol as a state machine of values: no socket, no timer, no clock.
 *
 * `step(input, now)` takes what happened and returns what to do; `deadline` says when it wants a
 * `tick`. Sockets are numbers that the caller maps to real ones: `current` is in use, `next` is
 * being opened. After a loss, or ahead of it when the gateway says `goaway`, `next` takes over:
 * its `hello` carries every subscription's cursor, and every command without an answer is sent
 * again under the same id. That makes both exactly-once (docs/protocol.md).
 *
 * Ahead of a loss `current` goes on until `next` is welcomed: what it still says counts, and what
 * both say is dropped by the cursor.
 */

import { delay, isFinal } from './backoff.js';
import { makeId as randomId } from './ids.js';
import { HELLO, Subscription } from './subscription.js';

export const SILENCE_MS = 45_000;
export const PROBE_MS = 5_000;
export const OPENING_MS = 10_000;
export const STEADY_MS = 5_000;
export const MESSAGE_BYTES = 256 * 1024;
const MAX_FRAME_BYTES = 1024 * 1024;
const LOST = 1006;
const TOKEN_ENDED = 4401;
const SUPERSEDED = 4409;

/** @typedef {import('./types.js').AnyFrame} AnyFrame */
/** @typedef {import('./types.js').Status} Status */

/**
 * @typedef {Map<string, {asked: Subscription, options: import('./types.js').SubscriptionOptions}>}
 *   Greeted session id -> whom a `hello` asked for, and with which options
 */

/**
 * @typedef {{type: 'start'} | {type: 'stop'} | {type: 'tick'} | {type: 'hint'}
 *   | {type: 'online', online: boolean}
 *   | {type: 'opened', socket: number, token?: string}
 *   | {type: 'text', socket: number, text: string}
 *   | {type: 'closed', socket: number, code: number, reason: string}
 *   | {type: 'command', frame: AnyFrame}
 *   | {type: 'subscribe', session: string, options: import('./types.js').SubscriptionOptions, after?: string}
 *   | {type: 'unsubscribe', session: string}} Input
 */

/**
 * @typedef {{type: 'connect', socket: number}
 *   | {type: 'send', socket: number, text: string}
 *   | {type: 'close', socket: number}
 *   | {type: 'refresh'}
 *   | {type: 'welcome', frame: AnyFrame}
 *   | {type: 'status', status: Status, retryAt: number | null, code: number, reason: string}
 *   | {type: 'answer', id: string, frame: AnyFrame}
 *   | {type: 'event', session: string, event: import('./types.js').SessionEvent}
 *   | {type: 'reset', session: string, state: import('./types.js').SessionState, detail: import('./types.js').Detail}
 *   | {type: 'recovered', session: string}
 *   | {type: 'refused', session: string, frame: AnyFrame}
 *   | {type: 'problem', frame: AnyFrame}} Effect
 */

/**
 * @typedef {object} ConnectionOptions
 * @property {string} client
 * @property {{name: string, version: string}} [app]
 * @property {boolean} [renewable] a new token can be had, so 4401 after a `welcome` is not final
 * @property {() => number} [random]
 * @property {import('./ids.js').MakeId} [makeId]
 */

export class Connection {
  /** @param {ConnectionOptions} options */
  constructor({ client, app, renewable = false, random = Math.random, makeId = randomId }) {
    this.client = client;
    this.app = app;
    this.renewable = renewable;
    this.random = random;
    this.makeId = makeId;
    /** @type {Map<string, Subscription>} by session id */
    this.subscriptions = new Map();
    /** @type {Map<string, AnyFrame>} command id -> frame without an answer, oldest first */
    this.pending = new Map();
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
    this.maxFrameBytes = MAX_FRAME_BYTES;
    /** @type {Effect[]} */
    this.effects = [];
    /** @type {string[]} frames for `current`, joined at the end of the step */
    this.lines = [];
  }

  /**
   * Take one input; the effects are to be done in order.
   * @param {Input} input
   * @param {number} now milliseconds
   * @returns {Effect[]}
   */
  step(input, now) {
    INPUTS[input.type](this, /** @type {any} */ (input), now);
    for (const subscription of this.subscriptions.values()) {
      const ack = this.current === null ? null : subscription.ack(now);
      if (ack) this.send(ack);
    }
    this.flush();
    this.report();
    return this.effects.splice(0);
  }

  /** When the next `tick` is due; Infinity: not before another input. */
  get deadline() {
    const times = [this.retryAt, this.openingUntil, this.moveAt];
    if (this.current !== null) {
      times.push(this.heardAt + SILENCE_MS, this.probeUntil);
      for (const { ackAt, retryAt } of this.subscriptions.values()) times.push(ackAt, retryAt);
    }
    return Math.min(...times);
  }

  /** @returns {Status} */
  get status() {
    if (!this.running) return 'closed';
    if (this.current !== null && this.welcomed) return 'open';
    const idle = this.current === null && this.next === null;
    if (idle && (this.attempt > 1 || !this.online)) return 'offline';
    return this.everWelcomed ? 'resuming' : 'connecting';
  }

  /** @param {AnyFrame} frame */
  send(frame) {
    this.lines.push(JSON.stringify(frame));
  }

  /** What was said so far goes to `current`, in as few messages as the limit allows. */
  flush() {
    const lines = this.lines.splice(0);
    if (this.current === null) return;
    const limit = Math.min(MESSAGE_BYTES, this.maxFrameBytes);
    for (let at = 0; at < lines.length;) {
      const first = at++;
      let bytes = byteLength(lines[first]);
      for (; at < lines.length; at++) {
        bytes += 1 + byteLength(lines[at]);
        if (bytes > limit) break;
      }
      const text = lines.slice(first, at).join('\n');
      this.effects.push({ type: 'send', socket: this.current, text });
    }
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
    this.moveAt = Infinity;
    this.attempt = 0;
    for (const id of this.pending.keys()) {
      const frame = { type: 'error', id, ...error, retryable: false };
      this.effects.push({ type: 'answer', id, frame });
    }
    this.pending.clear();
  }

  /**
   * The first frame on a socket, with every cursor.
   * @param {string} [token]
   * @returns {AnyFrame}
   */
  hello(token) {
    const sessions = this.known().map((one) => one.wish());
    return {
      type: 'hello',
      client: this.client,
      ...(token === undefined ? {} : { token }),
      ...(this.app ? { app: this.app } : {}),
      ...(sessions.length ? { sessions } : {}),
    };
  }

  /** The subscriptions that need not wait for a command without an answer. */
  known() {
    const subscriptions = [...this.subscriptions.values()];
    return subscriptions.filter((one) => !one.after || !this.pending.has(one.after));
  }

  /**
   * Say on `current` what its `hello` did not: every command without an answer, in order, and
   * the subscriptions that changed since.
   * @param {Greeted} greeted
   */
  deliver(greeted) {
    for (const one of this.known()) {
      const wish = greeted.get(one.session);
      if (wish?.asked === one && wish.options === one.options) {
        one.expect(HELLO);
        continue;
      }
      one.outdated = wish !== undefined;
      this.subscribe(one);
    }
    for (const session of greeted.keys()) {
      if (!this.subscriptions.has(session)) this.unsubscribe(session);
    }
    for (const [id, frame] of this.pending) {
      if (frame.type === 'auth.refresh') {
        // `hello` just brought a token that is at least as new.
        this.answer({ type: 'ok', id });
        continue;
      }
      this.send(frame);
      for (const one of this.subscriptions.values()) if (one.after === id) this.subscribe(one);
    }
  }

  /** @param {Subscription} subscription */
  subscribe(subscription) {
    const id = this.makeId('k');
    this.send({ type: 'session.subscribe', id, ...subscription.wish() });
    subscription.expect(id);
  }

  /** @param {string} session */
  unsubscribe(session) {
    this.send({ type: 'session.unsubscribe', id: this.makeId('k'), session });
  }

  /**
   * Why a command cannot be sent; a message above the limit would cost the connection each time.
   * @param {AnyFrame} frame
   * @returns {{code: string, message: string} | null}
   */
  refusal(frame) {
    if (!this.running) {
      return { code: 'client.closed', message: 'The client is closed: call connect() first.' };
    }
    const bytes = byteLength(JSON.stringify(frame));
    if (bytes <= this.maxFrameBytes) return null;
    return {
      code: 'frame.too_large',
      message: `The frame has ${bytes} bytes; the gateway takes ${this.maxFrameBytes}.`,
    };
  }

  /** @param {AnyFrame} frame an `ok` or `error` with an id */
  answer(frame) {
    const id = /** @type {string} */ (frame.id);
    if (!this.pending.delete(id)) return;
    this.effects.push({ type: 'answer', id, frame });
  }

  /**
   * @param {AnyFrame} frame
   * @param {number} now
   */
  receive(frame, now) {
    if (Object.hasOwn(FRAMES, frame.type)) return FRAMES[frame.type](this, frame, now);
    // Only frames with `time` are events and move the cursor.
    const subscription = this.subscriptions.get(frame.session ?? '');
    if (frame.time === undefined || !subscription) return;
    const event = /** @type {import('./types.js').SessionEvent} */ (/** @type {any} */ (frame));
    const verdict = subscription.receive(event, now);
    if (verdict === 'lost') return this.subscribe(subscription);
    if (verdict === 'drop') return;
    if (event.type === 'session.deleted') this.subscriptions.delete(event.session);
    this.effects.push({ type: 'event', session: event.session, event });
  }

  /**
   * @param {Subscription} subscription
   * @param {AnyFrame} frame an `error`
   * @param {number} now
   */
  refuse(subscription, frame, now) {
    subscription.awaiting = null;
    if (frame.retryable) {
      subscription.refusals += 1;
      subscription.retryAt = now + delay(subscription.refusals, 0, this.random);
      // What came meanwhile was for the place that was lost: keep dropping it.
      subscription.awaiting = HELLO;
      return;
    }
    this.subscriptions.delete(subscription.session);
    this.effects.push({ type: 'refused', session: subscription.session, frame });
  }

  /** Ask for a sign of life within PROBE_MS, after a hint that the network has changed. */
  probe(/** @type {number} */ now) {
    if (this.current === null) return;
    this.send({ type: 'ping' });
    this.probeUntil = Math.min(this.probeUntil, now + PROBE_MS);
  }
}

/** @type {{[K in Input['type']]: (machine: Connection, input: Extract<Input, {type: K}>, now: number) => void}} */
const INPUTS = {
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
    const known = machine.known();
    const greeted = new Map(
      known.map((one) => [one.session, { asked: one, options: one.options }]),
    );
    const hello = machine.hello(token);
    if (machine.current !== null) {
      machine.greeted = greeted;
      machine.superseded = true;
      machine.effects.push({ type: 'send', socket, text: JSON.stringify(hello) });
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

  text(machine, { socket, text }, now) {
    for (const line of text.split('\n')) {
      const frame = parse(line);
      if (socket === machine.next && frame?.type === 'welcome') machine.promote(now);
      if (frame && socket === machine.current) machine.receive(frame, now);
    }
    if (socket !== machine.current) return;
    machine.heardAt = now;
    machine.probeUntil = Infinity;
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
      return machine.lose(LOST, 'The connection fell silent.', now);
    }
    for (const subscription of machine.subscriptions.values()) {
      if (now >= subscription.retryAt) machine.subscribe(subscription);
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

  command(machine, { frame }) {
    const id = /** @type {string} */ (frame.id);
    const refused = machine.refusal(frame);
    machine.pending.set(id, frame);
    if (refused) machine.answer({ type: 'error', id, retryable: false, ...refused });
    else if (machine.current !== null) machine.send(frame);
  },

  subscribe(machine, { session, options, after }) {
    const old = machine.subscriptions.get(session);
    const subscription = old ?? new Subscription(session, options, after);
    subscription.change(options);
    machine.subscriptions.set(session, subscription);
    if (machine.current !== null) machine.subscribe(subscription);
  },

  unsubscribe(machine, { session }) {
    if (!machine.subscriptions.delete(session) || machine.current === null) return;
    machine.unsubscribe(session);
  },
};

/** @type {Record<string, (machine: Connection, frame: AnyFrame, now: number) => void>} */
const FRAMES = {
  welcome(machine, frame, now) {
    machine.welcomed = true;
    machine.everWelcomed = true;
    machine.openingUntil = Infinity;
    machine.steadyAt = now + STEADY_MS;
    machine.maxFrameBytes = frame.limits?.max_frame_bytes ?? MAX_FRAME_BYTES;
    machine.effects.push({ type: 'welcome', frame });
  },

  ok(machine, frame) {
    machine.answer(frame);
  },

  error(machine, frame, now) {
    const subscription = machine.subscriptions.get(frame.session ?? '');
    if (frame.id !== undefined && machine.pending.has(frame.id)) {
      // A draining replica: the command stays and goes to the one we move to.
      if (frame.code !== 'server.draining') machine.answer(frame);
    } else if (subscription && subscription.awaiting === (frame.id ?? HELLO)) {
      machine.refuse(subscription, frame, now);
    } else if (frame.id === undefined) {
      machine.effects.push({ type: 'problem', frame });
    }
  },

  subscribed(machine, frame) {
    const session = /** @type {string} */ (frame.session);
    const subscription = machine.subscriptions.get(session);
    if (!subscription) return;
    const outcome = subscription.subscribed(frame);
    if (outcome === 'lost') machine.subscribe(subscription);
    if (outcome === 'recovered') machine.effects.push({ type: 'recovered', session });
    if (outcome !== 'reset') return;
    machine.effects.push({ type: 'reset', session, state: frame.state, detail: frame.detail });
  },

  cursor(machine, frame, now) {
    const subscription = machine.subscriptions.get(frame.session ?? '');
    const place = { type: 'cursor', seq: /** @type {number} */ (frame.seq) };
    if (subscription?.receive(place, now) === 'lost') machine.subscribe(subscription);
  },

  ping(machine) {
    machine.send({ type: 'pong' });
  },

  pong() {},

  'auth.expiring'(machine) {
    machine.effects.push({ type: 'refresh' });
  },

  goaway(machine, frame, now) {
    machine.moveAt = now + frame.reconnect_after_ms;
  },
};

/**
 * @param {string} line
 * @returns {AnyFrame | null} null for what is not a frame
 */
function parse(line) {
  try {
    const frame = JSON.parse(line);
    return frame && typeof frame.type === 'string' ? frame : null;
  } catch {
    return null;
  }
}

/** @param {string} text */
function byteLength(text) {
  return new TextEncoder().encode(text).length;
}
