/**
 * How one hears of a session: listeners, iterators, waiting for a state. Nothing of what it is
 * told comes from here.
 *
 * Events are told one by one, at once; changes soon after, those that came together as one.
 */

import { deadline, limited, onAbort } from './abort.js';
import { SessionCommands } from './commands.js';
import { GatewayError } from './errors.js';
import { EventStream } from './events.js';
import { tellAll } from './tell.js';
import { updatesOf, whole } from './whole.js';

/** @typedef {import('./types.js').SessionState} SessionState */
/** @typedef {import('./types.js').SessionEvent} SessionEvent */
/** @typedef {import('./types.js').Message} Message */
/** @typedef {import('./abort.js').Limits} Limits */
/** @typedef {import('./types.js').Call & {args: any}} OfferedCall `args` are the arguments */
/** @typedef {'idle' | 'opening' | 'open' | 'closed'} SessionStatus */

/** @abstract */
export class SessionHearing extends SessionCommands {
  /** @type {SessionStatus} */
  status = 'idle';
  /** @type {GatewayError | null} why it was refused */
  error = null;
  /** @type {Set<(event: SessionEvent, state: SessionState) => void>} */
  #eventListeners = new Set();
  /** @type {Set<EventStream>} */
  #streams = new Set();
  /** @type {Set<() => void>} */
  #watchers = new Set();
  #changing = false;
  /** @type {GatewayError | null} why the client is closed, until it connects again */
  #away = null;

  /**
   * Why nothing more is heard of it; null while something may come.
   * @internal
   */
  get silence() {
    return this.status === 'closed' ? (this.error ?? closed(this.id)) : this.#away;
  }

  /**
   * Hear of every event at once, with the state after it.
   * @param {(event: SessionEvent, state: SessionState) => void} listener
   * @returns {() => void} stops it
   */
  onEvent(listener) {
    this.#eventListeners.add(listener);
    return () => this.#eventListeners.delete(listener);
  }

  /**
   * Be called soon after changes; events that came together are one.
   * @param {() => void} watcher
   * @returns {() => void} stops it
   */
  watch(watcher) {
    this.#watchers.add(watcher);
    return () => this.#watchers.delete(watcher);
  }

  /**
   * Hear of messages as they grow, each time with everything they say so far.
   * @param {(update: import('./whole.js').MessageUpdate) => void} listener
   * @returns {() => void} stops it
   */
  onMessage(listener) {
    let seen = versions(this.state);
    const look = () => {
      const now = versions(this.state);
      for (const [id, message] of now) {
        if (seen.get(id) !== message) updatesOf(message, seen.get(id)).forEach(listener);
      }
      seen = now;
    };
    return this.watch(look);
  }

  /**
   * Hear of every call that is offered to this page, whether a handler takes it or not.
   * @param {(call: OfferedCall) => void} listener
   * @returns {() => void} stops it
   */
  onToolCall(listener) {
    return this.onEvent(({ type, call }, { calls }) => {
      if (type !== 'tool_call.requested' || calls[call]?.target !== 'client') return;
      listener({ ...calls[call], args: calls[call].arguments });
    });
  }

  /**
   * What happens from now on; a `reset` with the state where events are missing.
   * @param {Limits} [limits]
   * @returns {EventStream}
   */
  events(limits = {}) {
    const { signal, release } = deadline(limits, this.port.clock);
    const stream = new EventStream(() => {
      release();
      leave();
      this.#streams.delete(stream);
    });
    this.#streams.add(stream);
    let leave = () => {};
    leave = onAbort(signal, (reason) => stream.abort(reason));
    if (this.silence) stream.end(this.error ?? this.#away ?? undefined);
    return stream;
  }

  [Symbol.asyncIterator]() {
    return this.events();
  }

  /**
   * Messages as they grow, each time whole; a slow reader gets the newest version alone.
   * @param {Limits} [limits]
   * @returns {AsyncGenerator<import('./whole.js').WholeMessage, void, void>}
   */
  updates(limits = {}) {
    return grown(this, this.events(limits), versions(this.state));
  }

  /**
   * Wait until the state fulfils a condition. Rejects when the session, or the client, is closed
   * before.
   * @param {(state: SessionState) => boolean} condition
   * @param {Limits} [limits]
   * @returns {Promise<SessionState>}
   */
  async waitUntil(condition, limits = {}) {
    /** @type {() => void} */
    let look = () => {};
    /** @type {Promise<SessionState>} */
    const fulfilled = new Promise((resolve, reject) => {
      look = () => {
        if (this.state && condition(this.state)) resolve(this.state);
        else if (this.silence) reject(this.silence);
      };
      this.#watchers.add(look);
      look();
    });
    try {
      return await limited(fulfilled, limits, this.port.clock);
    } finally {
      this.#watchers.delete(look);
    }
  }

  // --- what the session tells

  /**
   * @param {SessionEvent} event
   * @param {SessionState} state after it
   */
  tell(event, state) {
    tellAll(this.#eventListeners, this.port.clock, event, state);
    for (const stream of this.#streams) stream.put(event, state);
    this.changed();
  }

  /**
   * A whole new state, in place of events.
   * @param {SessionState} state
   * @internal
   */
  restart(state) {
    for (const stream of this.#streams) stream.reset(state);
    this.changed();
  }

  /**
   * Nothing more will be told.
   * @param {GatewayError | null} error
   * @internal
   */
  finish(error) {
    for (const stream of this.#streams) stream.end(error ?? undefined);
    this.changed();
  }

  /**
   * The client was closed: who waits hears of it, and the session goes on when it connects again;
   * null: it has.
   * @param {GatewayError | null} error
   * @internal
   */
  suspend(error) {
    this.#away = error;
    if (error) this.finish(error);
  }

  /**
   * The state, or the status, is another.
   * @internal
   */
  changed() {
    this.notify();
    if (this.#changing) return;
    this.#changing = true;
    queueMicrotask(() => {
      this.#changing = false;
      tellAll(this.#watchers, this.port.clock);
    });
  }
}

/** @param {SessionState | null} state */
function versions(state) {
  return new Map((state?.messages ?? []).map((message) => [message.id, message]));
}

/**
 * @param {SessionHearing} session
 * @param {EventStream} events
 * @param {Map<string, Message>} seen
 */
async function* grown(session, events, seen) {
  for await (const _ of events) {
    if (events.backlog) continue;
    const now = versions(session.state);
    for (const [id, message] of now) if (seen.get(id) !== message) yield whole(message);
    seen = now;
  }
}

/** @param {string} id */
function closed(id) {
  return new GatewayError('client.closed', `Session ${id} was closed.`);
}
