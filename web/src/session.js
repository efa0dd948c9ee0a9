/**
 * A handle on one session: its state, and the commands a page gives.
 *
 * The state is replaced, never changed, so it can be compared with `===`; listeners hear of it at
 * most once per animation frame. The handle knows no socket: it speaks through a port.
 */

import { GatewayError } from './errors.js';
import { apply } from './state.js';
import { wireTool } from './tools.js';

/** @typedef {import('./types.js').AnyFrame} AnyFrame */
/** @typedef {import('./types.js').SessionState} SessionState */
/** @typedef {import('./types.js').SessionEvent} SessionEvent */
/** @typedef {import('./tools.js').ClientTool} ClientTool */
/** @typedef {import('./types.js').Part} Part */

/**
 * @typedef {object} SessionPort
 * @property {(frame: AnyFrame) => Promise<AnyFrame>} command adds an id if there is none
 * @property {(session: string, options: import('./types.js').SubscriptionOptions, after?: string) => void} subscribe
 * @property {(session: string) => void} unsubscribe
 * @property {import('./tools.js').ToolRunner} tools
 * @property {import('./ids.js').MakeId} makeId
 * @property {(callback: () => void) => () => void} batched
 */

/**
 * @typedef {object} SessionOptions
 * @property {string} [agent] needed by `create()`
 * @property {readonly ClientTool[]} [tools] what this tab executes for the session
 * @property {import('./types.js').Detail} [detail]
 * @property {Record<string, unknown>} [metadata] of a session that is created
 */

/**
 * @typedef {object} SendOptions
 * @property {'reject' | 'enqueue' | 'interrupt' | 'steer'} [if_busy]
 * @property {string} [message] a client-made id
 * @property {Record<string, unknown>} [metadata]
 * @property {boolean} [start]
 * @property {string} [after] drop the messages later than this one first
 */

/** @typedef {'idle' | 'opening' | 'open' | 'closed'} SessionStatus */

export class Session {
  /** @type {SessionState | null} */
  state = null;
  /** @type {SessionStatus} */
  status = 'idle';
  /** @type {GatewayError | null} why it was refused */
  error = null;
  /** @type {import('./types.js').Detail | null} as granted */
  detail = null;
  /** @type {Set<() => void>} */
  #listeners = new Set();
  /** @type {Set<(event: SessionEvent, state: SessionState) => void>} */
  #eventListeners = new Set();

  /**
   * @param {string} id
   * @param {SessionOptions} options
   * @param {SessionPort} port
   */
  constructor(id, options, port) {
    this.id = id;
    this.options = options;
    this.port = port;
    this.notify = port.batched(() => {
      for (const listener of this.#listeners) listener();
    });
  }

  /**
   * Create the session, or find one's own, and subscribe to it; both go out at once.
   * @returns {Promise<AnyFrame>} `ok {session, existing?}`
   */
  create() {
    const { agent, metadata, tools = [] } = this.options;
    if (!agent) throw new GatewayError('client.usage', 'create() needs the option `agent`.');
    const id = this.port.makeId('k');
    const created = this.#command('session.create', {
      id,
      agent,
      ...(metadata ? { metadata } : {}),
      ...(tools.length ? { tools: tools.map(wireTool) } : {}),
    });
    this.open(id);
    return created;
  }

  /**
   * Subscribe to a session that exists.
   * @param {string} [after] id of a command that must be stored first
   */
  open(after) {
    const { tools = [], detail } = this.options;
    this.status = 'opening';
    this.error = null;
    this.port.tools.declare(this.id, tools);
    const names = tools.map((tool) => tool.name);
    this.port.subscribe(
      this.id,
      { ...(detail ? { detail } : {}), ...(names.length ? { tools: names } : {}) },
      after,
    );
    this.notify();
  }

  /** Stop listening, and give up the calls this tab was executing for it. The session lives on. */
  close() {
    if (this.status === 'closed') return;
    this.status = 'closed';
    this.port.tools.forget(this.id);
    this.port.unsubscribe(this.id);
    this.notify();
  }

  /**
   * @param {string | readonly Part[]} content
   * @param {SendOptions} [options]
   * @returns {Promise<AnyFrame>} `ok {message, run?, seq}`
   */
  send(content, options = {}) {
    return this.#command('message.send', { content, ...options });
  }

  /**
   * Stop the live run, or that run.
   * @param {{run?: string, reason?: string}} [options]
   */
  stop(options = {}) {
    return this.#command('run.interrupt', options);
  }

  /**
   * @param {string} approval
   * @param {{arguments?: unknown, reason?: string, remember?: boolean}} [options] `arguments` if edited
   */
  approve(approval, options = {}) {
    return this.#command('approval.respond', { approval, decision: 'approve', ...options });
  }

  /**
   * @param {string} approval
   * @param {{reason?: string, remember?: boolean}} [options]
   */
  deny(approval, options = {}) {
    return this.#command('approval.respond', { approval, decision: 'deny', ...options });
  }

  /** @param {{tools?: readonly import('./types.js').Tool[], metadata?: Record<string, unknown>}} changes */
  update(changes) {
    return this.#command('session.update', changes);
  }

  delete() {
    return this.#command('session.delete');
  }

  /**
   * Older messages than the state holds.
   * @param {{before?: string, limit?: number}} [page]
   * @returns {Promise<AnyFrame>} `ok {messages, more}`
   */
  messages(page = {}) {
    return this.#command('session.messages', page);
  }

  /**
   * Hear of changes of `state`, `status` or `error`, at most once per animation frame.
   * @param {() => void} listener
   * @returns {() => void} stops it
   */
  subscribe(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
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

  /** @param {SessionEvent} event */
  applyEvent(event) {
    this.state = apply(this.state, event);
    if (event.type === 'session.deleted') this.refuse(deleted(this.id));
    this.port.tools.heed(event, this.state);
    for (const listener of this.#eventListeners) listener(event, this.state);
    this.notify();
  }

  /**
   * @param {SessionState} state
   * @param {import('./types.js').Detail} detail
   */
  reset(state, detail) {
    this.state = state;
    this.detail = detail;
    this.status = 'open';
    this.port.tools.observe(state);
    this.notify();
  }

  /** @param {GatewayError} error */
  refuse(error) {
    this.status = 'closed';
    this.error = error;
    this.port.tools.forget(this.id);
    this.notify();
  }

  /**
   * @param {string} type
   * @param {Record<string, unknown>} [fields]
   */
  #command(type, fields = {}) {
    return this.port.command({ type, session: this.id, ...fields });
  }
}

/** @param {string} id */
function deleted(id) {
  return new GatewayError('session.not_found', `Session ${id} was deleted.`);
}
