/**
 * The gateway client of a page: one WebSocket, many sessions. All the I/O there is lives here.
 *
 * It feeds sockets, timers and the browser's hints into a `Connection` and does what that answers.
 * Effects are done in order, one after the other, also when a listener gives a command meanwhile.
 */

import { batched } from './batch.js';
import { realClock } from './clock.js';
import { Connection } from './connection.js';
import { watchEnvironment } from './environment.js';
import { GatewayError } from './errors.js';
import { makeId as randomId } from './ids.js';
import { Session } from './session.js';
import { ToolRunner } from './tools.js';

export const SUBPROTOCOL = 'agent-gateway.v1';
const NORMAL = 1000;
const LOST = 1006;

/** @typedef {import('./types.js').AnyFrame} AnyFrame */
/** @typedef {import('./connection.js').Input} Input */
/** @typedef {import('./connection.js').Effect} Effect */

/** @typedef {string | (() => string | Promise<string>)} Token the callback gives a fresh one each time */

/**
 * @typedef {object} ClientOptions
 * @property {string} [url] default: `/v1/ws` of the page's own origin
 * @property {Token} [token]
 * @property {{name: string, version: string}} [app]
 * @property {any} [WebSocket] the constructor; default: the global one
 * @property {import('./types.js').Clock} [clock]
 * @property {() => number} [random]
 * @property {import('./ids.js').MakeId} [makeId]
 */

/**
 * @typedef {object} ConnectionStatus
 * @property {import('./types.js').Status} status
 * @property {number | null} retryAt on the client's clock
 * @property {number} code of the last loss
 * @property {string} reason
 */

export class GatewayClient {
  /** @type {Map<string, Session>} */
  sessions = new Map();
  /** @type {AnyFrame | null} the last `welcome` */
  welcome = null;
  /** @type {ConnectionStatus} */
  connection = { status: 'closed', retryAt: null, code: 0, reason: '' };
  /** @type {Connection} */
  #machine;
  /** @type {Map<number, any>} */
  #sockets = new Map();
  /** @type {Map<string, {resolve: (frame: AnyFrame) => void, reject: (error: Error) => void}>} */
  #answers = new Map();
  /** @type {Set<(connection: ConnectionStatus) => void>} */
  #listeners = new Set();
  /** @type {Set<(error: GatewayError) => void>} */
  #problemListeners = new Set();
  /** @type {Effect[]} */
  #effects = [];
  #draining = false;
  /** @type {any} */
  #timer = null;
  /** @type {(() => void) | null} */
  #unwatch = null;

  /** @param {ClientOptions} [options] */
  constructor(options = {}) {
    const { app, random, token } = options;
    this.url = options.url ?? defaultUrl();
    this.token = token;
    this.clock = options.clock ?? realClock;
    this.makeId = options.makeId ?? randomId;
    this.WebSocket = options.WebSocket ?? globalThis.WebSocket;
    /** Names this tab across reconnects, and dies with the page. */
    this.id = this.makeId('tab');
    const renewable = typeof token === 'function';
    this.#machine = new Connection({
      client: this.id,
      app,
      renewable,
      random,
      makeId: this.makeId,
    });
    /** @param {AnyFrame} frame */
    const command = (frame) => this.command(frame);
    const { id: client, makeId, clock } = this;
    this.tools = new ToolRunner({ client, command, makeId, clock });
  }

  get status() {
    return this.connection.status;
  }

  /** Milliseconds to the next try; null when none is planned. */
  get retryInMs() {
    const { retryAt } = this.connection;
    return retryAt === null ? null : Math.max(0, retryAt - this.clock.now());
  }

  /** Connect, also again after `close()` or a final close code; otherwise without effect. */
  connect() {
    this.#unwatch ??= watchEnvironment((hint) => this.#step(hint));
    this.#step({ type: 'start' });
  }

  /** Close the socket; commands without an answer are refused with `client.closed`. */
  close() {
    this.#unwatch?.();
    this.#unwatch = null;
    this.#step({ type: 'stop' });
  }

  /** Try now instead of when the backoff ends. */
  retry() {
    this.#step({ type: 'hint' });
  }

  /**
   * The handle of a session; the same one for the same id. It does nothing before `create()` or
   * `open()`.
   * @param {string} [id] default: a new one
   * @param {import('./session.js').SessionOptions} [options]
   * @returns {Session}
   */
  session(id = this.makeId('s'), options = {}) {
    const known = this.sessions.get(id);
    if (known && known.status !== 'closed') return known;
    const session = new Session(id, options, {
      command: (frame) => this.command(frame),
      subscribe: (name, wishes, after) =>
        this.#step({ type: 'subscribe', session: name, options: wishes, after }),
      unsubscribe: (name) => {
        this.sessions.delete(name);
        this.#step({ type: 'unsubscribe', session: name });
      },
      tools: this.tools,
      makeId: this.makeId,
      batched: (callback) => batched(callback, frameSource(this.clock)),
    });
    this.sessions.set(id, session);
    return session;
  }

  /**
   * The principal's sessions, newest first.
   * @param {{limit?: number, before?: string}} [page]
   * @returns {Promise<AnyFrame>} `ok {sessions, more}`
   */
  list(page = {}) {
    return this.command({ type: 'session.list', ...page });
  }

  /**
   * Send a command; it survives reconnects until it is answered.
   * @param {AnyFrame} frame an `id` is added where there is none
   * @returns {Promise<AnyFrame>} its `ok`; rejects with a `GatewayError`
   */
  command(frame) {
    const id = frame.id ?? this.makeId('k');
    return new Promise((resolve, reject) => {
      this.#answers.set(id, { resolve, reject });
      this.#step({ type: 'command', frame: { ...frame, id } });
    });
  }

  /**
   * @param {(connection: ConnectionStatus) => void} listener
   * @returns {() => void} stops it
   */
  onStatus(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /**
   * Hear of errors that answer no command.
   * @param {(error: GatewayError) => void} listener
   * @returns {() => void} stops it
   */
  onProblem(listener) {
    this.#problemListeners.add(listener);
    return () => this.#problemListeners.delete(listener);
  }

  /** @param {Input} input */
  #step(input) {
    this.#effects.push(...this.#machine.step(input, this.clock.now()));
    this.#schedule();
    if (this.#draining) return;
    this.#draining = true;
    try {
      for (let effect = this.#effects.shift(); effect; effect = this.#effects.shift()) {
        this.#attempt(effect);
      }
    } finally {
      this.#draining = false;
    }
  }

  /**
   * A listener that throws must not cost the others their events.
   * @param {Effect} effect
   */
  #attempt(effect) {
    try {
      this.#do(effect);
    } catch (error) {
      this.clock.setTimeout(() => {
        throw error;
      }, 0);
    }
  }

  #schedule() {
    this.clock.clearTimeout(this.#timer);
    const { deadline } = this.#machine;
    if (!Number.isFinite(deadline)) return;
    const delay_ms = Math.max(0, deadline - this.clock.now());
    this.#timer = this.clock.setTimeout(() => this.#step({ type: 'tick' }), delay_ms);
  }

  /** @param {Effect} effect */
  #do(effect) {
    switch (effect.type) {
      case 'connect':
        return void this.#open(effect.socket);
      case 'send':
        return this.#sockets.get(effect.socket)?.send(effect.text);
      case 'close':
        return this.#close(effect.socket);
      case 'refresh':
        return void this.#refresh();
      case 'answer':
        return this.#answer(effect.id, effect.frame);
      case 'event':
        return this.sessions.get(effect.session)?.applyEvent(effect.event);
      case 'reset':
        return this.sessions.get(effect.session)?.reset(effect.state, effect.detail);
      case 'refused':
        return this.sessions.get(effect.session)?.refuse(GatewayError.fromFrame(effect.frame));
      case 'recovered':
        return this.sessions.get(effect.session)?.notify();
      case 'welcome':
        this.welcome = effect.frame;
        return undefined;
      case 'status':
        this.connection = effect;
        for (const listener of this.#listeners) listener(effect);
        return undefined;
      case 'problem':
        for (const listener of this.#problemListeners) {
          listener(GatewayError.fromFrame(effect.frame));
        }
        return undefined;
    }
  }

  /**
   * The token comes first: an open socket has only seconds to say `hello`.
   * @param {number} number
   */
  async #open(number) {
    this.#sockets.set(number, null);
    let token;
    try {
      token = typeof this.token === 'function' ? await this.token() : this.token;
    } catch (error) {
      return this.#lost(
        number,
        LOST,
        `No token: ${error instanceof Error ? error.message : error}`,
      );
    }
    if (!this.#sockets.has(number)) return;
    const socket = new this.WebSocket(this.url, [SUBPROTOCOL]);
    this.#sockets.set(number, socket);
    socket.onopen = () => this.#step({ type: 'opened', socket: number, token });
    socket.onmessage = (/** @type {{data: unknown}} */ { data }) => {
      if (typeof data === 'string') this.#step({ type: 'text', socket: number, text: data });
    };
    socket.onclose = (/** @type {{code: number, reason: string}} */ { code, reason }) =>
      this.#lost(number, code, reason);
  }

  /**
   * @param {number} number
   * @param {number} code
   * @param {string} reason
   */
  #lost(number, code, reason) {
    this.#sockets.delete(number);
    this.#step({ type: 'closed', socket: number, code, reason });
  }

  /** @param {number} number */
  #close(number) {
    const socket = this.#sockets.get(number);
    this.#sockets.delete(number);
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close(NORMAL);
  }

  async #refresh() {
    if (typeof this.token !== 'function') return;
    try {
      await this.command({ type: 'auth.refresh', token: await this.token() });
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      const problem = new GatewayError('auth.expired', `The token was not renewed: ${message}`);
      for (const listener of this.#problemListeners) listener(problem);
    }
  }

  /**
   * @param {string} id
   * @param {AnyFrame} frame
   */
  #answer(id, frame) {
    const answer = this.#answers.get(id);
    this.#answers.delete(id);
    if (frame.type === 'ok') answer?.resolve(frame);
    else answer?.reject(GatewayError.fromFrame(frame));
  }
}

function defaultUrl() {
  const { protocol, host } = globalThis.location;
  return `${protocol === 'https:' ? 'wss' : 'ws'}://${host}/v1/ws`;
}

/**
 * @param {import('./types.js').Clock} clock
 * @returns {import('./batch.js').FrameSource}
 */
function frameSource(clock) {
  return {
    clock,
    requestFrame: globalThis.requestAnimationFrame?.bind(globalThis),
    cancelFrame: globalThis.cancelAnimationFrame?.bind(globalThis),
  };
}
