/**
 * The client's side of the protocol as a state machine of values: no socket, no timer, no clock.
 *
 * `step(input, now)` takes what happened and returns what to do; `deadline` says when it wants a
 * `tick`. Which socket is in use is `lifeline`; here is what is said on it. The `hello` of a new
 * one carries every subscription's cursor, and every command without an answer is sent again under
 * the same id. That makes both exactly-once (docs/protocol.md).
 *
 * While a new socket waits for its `welcome` the old one goes on: what it still says counts, and
 * what both say is dropped by the cursor.
 */

import { delay } from './backoff.js';
import { makeId as randomId } from './ids.js';
import { Lifeline, SIGNS } from './lifeline.js';
import { HELLO, Subscription } from './subscription.js';
import { wireText } from './wire.js';

export const MESSAGE_BYTES = 256 * 1024;
const MAX_FRAME_BYTES = 1024 * 1024;

/** @typedef {import('./types.js').AnyFrame} AnyFrame */
/** @typedef {import('./lifeline.js').Greeted} Greeted */
/** @typedef {import('./steps.js').Input} Input */
/** @typedef {import('./steps.js').Effect} Effect */

/**
 * @typedef {object} ConnectionOptions
 * @property {string} client
 * @property {{name: string, version: string}} [app]
 * @property {boolean} [renewable] a new token can be had, so 4401 after a `welcome` is not final
 * @property {() => number} [random]
 * @property {import('./ids.js').MakeId} [makeId]
 */

/** The protocol as a state machine of values, for clients of one's own. */
export class Connection extends Lifeline {
  /** @param {ConnectionOptions} options */
  constructor({ client, app, renewable = false, random = Math.random, makeId = randomId }) {
    super(renewable, random);
    this.client = client;
    this.app = app;
    this.makeId = makeId;
    /** @type {Map<string, Subscription>} by session id */
    this.subscriptions = new Map();
    /** @type {Map<string, AnyFrame>} command id -> frame without an answer, oldest first */
    this.pending = new Map();
    this.maxFrameBytes = MAX_FRAME_BYTES;
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
    const due = [super.deadline];
    if (this.current !== null) {
      for (const { ackAt, retryAt } of this.subscriptions.values()) due.push(ackAt, retryAt);
    }
    return Math.min(...due);
  }

  /** @param {AnyFrame} frame */
  send(frame) {
    this.lines.push(wireText(frame));
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

  /**
   * With every cursor.
   * @param {string} [token]
   */
  greeting(token) {
    const known = this.known();
    const sessions = known.map((one) => one.wish());
    const hello = {
      type: 'hello',
      client: this.client,
      ...(token === undefined ? {} : { token }),
      ...(this.app ? { app: this.app } : {}),
      ...(sessions.length ? { sessions } : {}),
    };
    const greeted = new Map(
      known.map((one) => [one.session, { asked: one, options: one.options }]),
    );
    return { hello, greeted };
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
        one.outdated = false;
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
    const bytes = byteLength(wireText(frame));
    if (bytes <= this.maxFrameBytes) return null;
    return {
      code: 'frame.too_large',
      message: `The frame has ${bytes} bytes; the gateway takes ${this.maxFrameBytes}.`,
    };
  }

  /** @param {{code: string, message: string}} error */
  refusePending(error) {
    for (const id of [...this.pending.keys()]) {
      this.answer({ type: 'error', id, ...error, retryable: false });
    }
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
}

/** @type {{[K in Input['type']]: (machine: Connection, input: Extract<Input, {type: K}>, now: number) => void}} */
const INPUTS = {
  ...SIGNS,

  tick(machine, input, now) {
    SIGNS.tick(machine, input, now);
    if (machine.current === null) return;
    for (const subscription of machine.subscriptions.values()) {
      if (now >= subscription.retryAt) machine.subscribe(subscription);
    }
  },

  text(machine, { socket, text }, now) {
    for (const line of text.split('\n')) {
      const frame = parse(line);
      if (socket === machine.next && frame?.type === 'welcome') machine.promote(now);
      if (frame && socket === machine.current) machine.receive(frame, now);
    }
    if (socket !== machine.current) return;
    machine.hear(now);
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
    subscription.after = after ?? subscription.after;
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
    machine.welcome(now);
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
    } else if (
      subscription &&
      (subscription.awaiting === (frame.id ?? HELLO) || ends(frame, subscription))
    ) {
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
    if (outcome === 'recovered') {
      machine.effects.push({ type: 'recovered', session, detail: subscription.granted });
    }
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
    if (machine.next === null) machine.moveAt = now + frame.reconnect_after_ms;
  },
};

/**
 * Whether it is the news that the session is gone, or may not be seen any more.
 * @param {AnyFrame} error
 * @param {Subscription} subscription
 */
function ends({ id, code }, { awaiting }) {
  return id === undefined && awaiting === null && code === 'session.not_found';
}

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
