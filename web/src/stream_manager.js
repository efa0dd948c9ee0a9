/**
 * The raw stream of one session, for those who want nothing else: events in, callbacks out.
 *
 * Reconnecting, resuming and deduplication are the client's, so nothing is missed or seen twice.
 */

import { GatewayClient } from './client.js';

/** @typedef {import('./types.js').SessionEvent} SessionEvent */
/** @typedef {import('./types.js').SessionState} SessionState */

/**
 * @typedef {object} StreamOptions
 * @property {GatewayClient | import('./client.js').ClientOptions} client one that is shared, or
 *   the options of one that this stream opens and closes
 * @property {string} session id of a session that exists
 * @property {import('./types.js').Detail} [detail]
 * @property {(event: SessionEvent) => void} [onData] every event
 * @property {(state: SessionState) => void} [onState] the session as it is: at the start, and
 *   where events are missing
 * @property {(error: Error) => void} [onError]
 * @property {() => void} [onStart]
 * @property {() => void} [onStop]
 */

/** The raw stream of one session, on a client of its own or on yours. */
export class StreamManager {
  /** @type {Map<string, Set<(event: any) => void>>} */
  #listeners = new Map();
  /** @type {import('./events.js').EventStream | null} */
  #events = null;
  /** @type {any} */
  #timer;

  /** @param {StreamOptions} options */
  constructor(options) {
    this.options = options;
    this.shared = options.client instanceof GatewayClient;
    this.client =
      options.client instanceof GatewayClient ? options.client : new GatewayClient(options.client);
  }

  /**
   * Hear of events of one type.
   * @param {string} type
   * @param {(event: any) => void} callback
   * @returns {() => void} stops it
   */
  addEventListener(type, callback) {
    const callbacks = this.#listeners.get(type) ?? new Set();
    this.#listeners.set(type, callbacks.add(callback));
    return () => callbacks.delete(callback);
  }

  /**
   * Start; resolves when the stream flows.
   * @param {import('./abort.js').Limits} [limits]
   */
  async connect(limits = {}) {
    if (this.#events) return;
    this.client.connect();
    const session = this.client.session(this.options.session, { detail: this.options.detail });
    this.#events = session.events();
    const pumped = this.#pump(this.#events, session);
    if (session.status === 'idle') session.open();
    try {
      await session.waitUntil(() => session.status === 'open', limits);
    } catch (error) {
      this.stop();
      await pumped;
      throw error;
    }
  }

  /** Stop; the session lives on. */
  stop() {
    this.client.clock.clearTimeout(this.#timer);
    void this.#events?.return();
  }

  /**
   * Stop after so many milliseconds, unless `clearStopTimeout` comes first.
   * @param {number} delay_ms
   */
  stopAfter(delay_ms) {
    this.clearStopTimeout();
    this.#timer = this.client.clock.setTimeout(() => this.stop(), delay_ms);
  }

  clearStopTimeout() {
    this.client.clock.clearTimeout(this.#timer);
  }

  /**
   * @param {import('./events.js').EventStream} events
   * @param {import('./session.js').Session} session
   */
  async #pump(events, session) {
    const { onData, onState, onError, onStart, onStop } = this.options;
    const opened = session.status === 'idle';
    onStart?.();
    if (session.state) onState?.(session.state);
    try {
      for await (const item of events) {
        if (item.type === 'reset') {
          onState?.(/** @type {import('./events.js').Reset} */ (item).state);
          continue;
        }
        onData?.(/** @type {SessionEvent} */ (item));
        for (const callback of this.#listeners.get(item.type) ?? []) callback(item);
      }
    } catch (error) {
      onError?.(/** @type {Error} */ (error));
    }
    this.#events = null;
    if (opened) session.close();
    if (!this.shared) this.client.close();
    onStop?.();
  }
}
