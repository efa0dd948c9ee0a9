/**
 * The gateway client of a page: one WebSocket, many sessions. All the I/O there is lives here.
 *
 * It feeds sockets, timers and the browser's hints into a `Connection` and does what that answers.
 * Effects are done in order, one after the other, also when a listener gives a command meanwhile.
 */

import { limited } from './abort.js';
import { Agent } from './agent.js';
import { batched } from './batch.js';
import { realClock } from './clock.js';
import { Connection } from './connection.js';
import { watchEnvironment } from './environment.js';
import { GatewayError } from './errors.js';
import { makeId as randomId } from './ids.js';
import { outcome, streamed } from './run.js';
import { Session } from './session.js';
import { tellAll } from './tell.js';
import { ToolRunner } from './tools.js';
import { socketUrl } from './url.js';

/** What the socket asks for. */
export const SUBPROTOCOL = 'agent-gateway.v1';
const NORMAL = 1000;
const LOST = 1006;
/** `readyState` of a socket that takes text; a greater one is closing or closed. */
const OPEN = 1;

/** @typedef {import('./types.js').AnyFrame} AnyFrame */
/** @typedef {import('./abort.js').Limits} Limits */
/** @typedef {import('./connection.js').Input} Input */
/** @typedef {import('./connection.js').Effect} Effect */

/** @typedef {string | (() => string | Promise<string>)} Token the callback gives a fresh one each time */

/**
 * @typedef {object} ClientOptions
 * @property {string} [url] of the gateway, or of its socket; default: the page's own origin
 * @property {string} [baseUrl] the same
 * @property {string} [proxyUrl] the same
 * @property {Token} [token]
 * @property {Token} [apiKey] the same
 * @property {() => string | Promise<string>} [ticket] gives a ticket for each handshake; then `hello` needs no token
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

/** One socket to a gateway, with any number of sessions on it. */
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
    const { app, random, token = options.apiKey } = options;
    this.url = socketUrl(options.url ?? options.baseUrl ?? options.proxyUrl ?? '/');
    this.token = token;
    this.clock = options.clock ?? realClock;
    this.makeId = options.makeId ?? randomId;
    this.WebSocket = options.WebSocket ?? globalThis.WebSocket;
    /** Names this tab across reconnects, and dies with the page. */
    this.id = this.makeId('tab');
    this.ticket = options.ticket;
    const renewable = typeof token === 'function' || this.ticket !== undefined;
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
    this.subscribe = this.subscribe.bind(this);
    this.getSnapshot = this.getSnapshot.bind(this);
  }

  /** `connecting`, `open`, `resuming`, `offline` or `closed`. */
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
      command: (frame, limits) => this.command(frame, limits),
      subscribe: (name, wishes, after) =>
        this.#step({ type: 'subscribe', session: name, options: wishes, after }),
      unsubscribe: (name) => {
        this.sessions.delete(name);
        this.#step({ type: 'unsubscribe', session: name });
      },
      tools: this.tools,
      makeId: this.makeId,
      clock: this.clock,
      batched: (callback) => batched(callback, frameSource(this.clock)),
    });
    this.sessions.set(id, session);
    return session;
  }

  /**
   * A conversation with an agent of the gateway.
   * @param {string | import('./agent.js').AgentConfig} config
   */
  agent(config) {
    return new Agent(this, config);
  }

  /**
   * Start an app on its own, in a new session. Resolves with the last update, or with `stream` at
   * once with all of them to come. Aborting, or a timeout, stops the run.
   * @template {import('./run.js').RunOptions} O
   * @param {import('./run.js').Task} task
   * @param {O} [options]
   * @returns {Promise<O extends {stream: true} ? import('./run.js').RunStream : import('./run.js').Update>}
   */
  async run({ app, agent = app, input, metadata }, options) {
    options?.signal?.throwIfAborted();
    const session = this.session(undefined, { agent, metadata });
    const stream = await streamed(session, input, options ?? {}, this.clock);
    return /** @type {any} */ (options?.stream ? stream : outcome(stream));
  }

  /**
   * The principal's sessions, newest first.
   * @param {{limit?: number, before?: string} & Limits} [page]
   * @returns {Promise<AnyFrame>} `ok {sessions, more}`
   */
  list({ signal, timeout_ms, ...page } = {}) {
    return this.command({ type: 'session.list', ...page }, { signal, timeout_ms });
  }

  /**
   * Send a command; it survives reconnects until it is answered.
   * @param {AnyFrame} frame an `id` is added where there is none
   * @param {Limits} [limits] end the wait for the answer, not the command
   * @returns {Promise<AnyFrame>} its `ok`; rejects with a `GatewayError`
   */
  command(frame, limits = {}) {
    const id = frame.id ?? this.makeId('k');
    /** @type {Promise<AnyFrame>} */
    const answer = new Promise((resolve, reject) => {
      this.#answers.set(id, { resolve, reject });
      this.#step({ type: 'command', frame: { ...frame, id } });
    });
    return limited(answer, limits, this.clock);
  }

  /**
   * Hear of changes of the connection; with `getSnapshot` a store for `useSyncExternalStore`.
   * @param {() => void} listener
   * @returns {() => void} stops it
   */
  subscribe(listener) {
    return this.onStatus(listener);
  }

  /** The connection as it is: the same object until it changes. */
  getSnapshot() {
    return this.connection;
  }

  /**
   * Wait until the gateway has welcomed this client. Rejects when it refused it for good.
   * @param {Limits} [limits]
   */
  async ready(limits = {}) {
    /** @type {() => void} */
    let leave = () => {};
    /** @type {Promise<void>} */
    const open = new Promise((resolve, reject) => {
      const look = () => {
        const { status, reason } = this.connection;
        if (status === 'open') resolve();
        else if (status === 'closed') reject(new GatewayError('client.closed', reason));
      };
      leave = this.onStatus(look);
      look();
    });
    try {
      await limited(open, limits, this.clock);
    } finally {
      leave();
    }
  }

  /**
   * Hear of every change of the status at once.
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
        return this.#write(effect.socket, effect.text);
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
        return this.sessions.get(effect.session)?.recover(effect.detail);
      case 'welcome':
        this.welcome = effect.frame;
        return undefined;
      case 'status':
        this.#suspend(effect);
        this.connection = effect;
        return tellAll(this.#listeners, this.clock, effect);
      case 'problem':
        return tellAll(this.#problemListeners, this.clock, GatewayError.fromFrame(effect.frame));
    }
  }

  /**
   * Nobody waits for a client that is closed; its sessions go on when it connects again.
   * @param {ConnectionStatus} next
   */
  #suspend({ status, code, reason }) {
    const closed = status === 'closed';
    if (closed === (this.status === 'closed')) return;
    const text = `The client is closed: ${code} ${reason}`.trimEnd();
    const error = closed ? new GatewayError('client.closed', text) : null;
    for (const session of this.sessions.values()) session.suspend(error);
  }

  /**
   * The token comes first: an open socket has only seconds to say `hello`.
   * @param {number} number
   */
  async #open(number) {
    this.#sockets.set(number, null);
    let token;
    const protocols = [SUBPROTOCOL];
    try {
      token = typeof this.token === 'function' ? await this.token() : this.token;
      if (this.ticket) protocols.push(`agent-gateway.ticket.${await this.ticket()}`);
    } catch (error) {
      return this.#lost(
        number,
        LOST,
        `No token: ${error instanceof Error ? error.message : error}`,
      );
    }
    if (!this.#sockets.has(number)) return;
    const socket = new this.WebSocket(this.url, protocols);
    this.#sockets.set(number, socket);
    socket.onopen = () => this.#step({ type: 'opened', socket: number, token });
    socket.onmessage = (/** @type {{data: unknown}} */ { data }) => {
      if (typeof data === 'string') this.#step({ type: 'text', socket: number, text: data });
    };
    // What follows is `close`; without a listener some implementations would throw.
    socket.onerror = () => {};
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

  /**
   * Nothing goes on a socket that is closing: `closed` follows, and the next one carries it.
   * @param {number} number
   * @param {string} text
   */
  #write(number, text) {
    const socket = this.#sockets.get(number);
    if (socket && !(socket.readyState > OPEN)) socket.send(text);
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
      tellAll(this.#problemListeners, this.clock, problem);
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

/**
 * A client that connects at once.
 * @param {ClientOptions} [options]
 */
export function createClient(options) {
  const client = new GatewayClient(options);
  client.connect();
  return client;
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
