/**
 * The client's side of the protocol as a state machine of values: no socket, no timer, no clock.
 *
 * `step(input, now)` takes what happened and returns what to do; `deadline` says when it wants a
 * `tick`. Sockets are numbers that the caller maps to real ones: `current` has been greeted with
 * `hello`, `next` is being opened. After a loss, or ahead of it when the gateway says `goaway`,
 * `next` takes over: its `hello` carries every subscription's cursor, and every command without
 * an answer is sent again under the same id. That makes both exactly-once (docs/protocol.md).
 */

import { delay, isFinal } from './backoff.js';
import { makeId as randomId } from './ids.js';
import { HELLO, Subscription } from './subscription.js';

export const SILENCE_MS = 45_000;
export const PROBE_MS = 5_000;
export const OPENING_MS = 10_000;
export const STEADY_MS = 5_000;
const MESSAGE_CHARS = 256 * 1024;
const MAX_FRAME_BYTES = 1024 * 1024;
const TOKEN_ENDED = 4401;

/** @typedef {import('./types.js').AnyFrame} AnyFrame */
/** @typedef {import('./types.js').Status} Status */

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
    /** @type {number | null} greeted with `hello` */
    this.current = null;
    /** @type {number | null} being opened */
    this.next = null;
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

  flush() {
    const lines = this.lines.splice(0);
    if (this.current === null) return;
    for (let at = 0; at < lines.length;) {
      let text = lines[at++];
      while (at < lines.length && text.length + lines[at].length < MESSAGE_CHARS) {
        text += `\n${lines[at++]}`;
      }
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
    this[which] = null;
    if (which === 'next') this.openingUntil = Infinity;
    else this.probeUntil = Infinity;
    this.effects.push({ type: 'close', socket });
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
    const renew = code === TOKEN_ENDED && this.renewable && this.welcomed;
    if (isFinal(code) && !renew) return this.end({ code: `client.closed`, message: reason });
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
   * `hello` with every cursor, then every command without an answer, in order.
   * @param {string} [token]
   */
  greet(token) {
    const subscriptions = [...this.subscriptions.values()];
    const known = subscriptions.filter((one) => !one.after || !this.pending.has(one.after));
    this.send({
      type: 'hello',
      client: this.client,
      ...(token === undefined ? {} : { token }),
      ...(this.app ? { app: this.app } : {}),
      ...(known.length ? { sessions: known.map((one) => one.request(HELLO)) } : {}),
    });
    for (const [id, frame] of this.pending) {
      if (frame.type === 'auth.refresh') {
        // `hello` just brought a token that is at least as new.
        this.answer({ type: 'ok', id });
        continue;
      }
      this.send(frame);
      for (const one of subscriptions) if (one.after === id) this.subscribe(one);
    }
  }

  /** @param {Subscription} subscription */
  subscribe(subscription) {
    const id = this.makeId('k');
    this.send({ type: 'session.subscribe', id, ...subscription.request(id) });
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
    const bytes = new TextEncoder().encode(JSON.stringify(frame)).length;
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
    if (socket !== machine.next) return;
    machine.next = null;
    machine.drop('current');
    machine.current = socket;
    machine.welcomed = false;
    machine.heardAt = now;
    machine.openingUntil = now + OPENING_MS;
    machine.greet(token);
  },

  text(machine, { socket, text }, now) {
    if (socket !== machine.current) return;
    machine.heardAt = now;
    machine.probeUntil = Infinity;
    for (const line of text.split('\n')) {
      const frame = parse(line);
      if (frame) machine.receive(frame, now);
    }
  },

  closed(machine, { socket, code, reason }, now) {
    if (socket === machine.next) {
      machine.next = null;
      machine.openingUntil = Infinity;
      // A move that failed is tried again while the old socket lives.
      if (machine.current !== null && !isFinal(code)) {
        machine.moveAt = now + delay(++machine.attempt, code, machine.random);
        return;
      }
    } else if (socket === machine.current) {
      machine.current = null;
      machine.probeUntil = Infinity;
      if (machine.next !== null && !isFinal(code)) return;
      machine.openingUntil = Infinity;
    } else return;
    machine.fail(code, reason, now);
  },

  tick(machine, _, now) {
    if (now >= machine.retryAt) machine.open(now);
    else if (now >= machine.openingUntil) {
      machine.openingUntil = Infinity;
      machine.drop(machine.next === null ? 'current' : 'next');
      if (machine.current === null) machine.fail(1006, 'The gateway did not answer.', now);
      else machine.moveAt = now + delay(++machine.attempt, 0, machine.random);
    }
    if (machine.current === null) return;
    if (now >= machine.moveAt && machine.next === null) machine.open(now);
    if (now >= Math.min(machine.heardAt + SILENCE_MS, machine.probeUntil)) {
      machine.drop('current');
      if (machine.next === null) machine.fail(1006, 'The connection fell silent.', now);
      return;
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
    subscription.options = options;
    machine.subscriptions.set(session, subscription);
    if (machine.current !== null) machine.subscribe(subscription);
  },

  unsubscribe(machine, { session }) {
    if (!machine.subscriptions.delete(session) || machine.current === null) return;
    machine.send({ type: 'session.unsubscribe', id: machine.makeId('k'), session });
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
    const outcome = subscription?.subscribed(frame);
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
