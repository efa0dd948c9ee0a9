/**
 * A handle on one session: its state as it is, and every way to hear of it.
 *
 * The state is replaced, never changed, so it can be compared with `===`; listeners hear of it at
 * most once per animation frame. The handle knows no socket: it speaks through a port.
 */

import { GatewayError } from './errors.js';
import { SessionHearing } from './hearing.js';
import { Older } from './older.js';
import { Outcomes } from './outcomes.js';
import { shown } from './outgoing.js';
import { apply } from './state.js';
import { tellAll } from './tell.js';
import { built } from './tool.js';
import { ANY, wireTool } from './tools.js';
import { textOf } from './whole.js';

const PAGE = 50;

/** @typedef {import('./types.js').AnyFrame} AnyFrame */
/** @typedef {import('./types.js').SessionState} SessionState */
/** @typedef {import('./types.js').SessionEvent} SessionEvent */
/** @typedef {import('./types.js').Run} Run */
/** @typedef {import('./abort.js').Limits} Limits */
/** @typedef {import('./tool.js').ToolLike} ToolLike */
/** @typedef {import('./outgoing.js').ShownMessage} ShownMessage */

/**
 * @typedef {object} SessionPort
 * @property {(frame: AnyFrame, limits?: Limits) => Promise<AnyFrame>} command adds an id if there is none
 * @property {(session: string, options: import('./types.js').SubscriptionOptions, after?: string) => void} subscribe
 * @property {(session: string) => void} unsubscribe
 * @property {import('./tools.js').ToolRunner} tools
 * @property {import('./ids.js').MakeId} makeId
 * @property {import('./types.js').Clock} clock
 * @property {(callback: () => void) => () => void} batched
 */

/**
 * @typedef {object} SessionOptions
 * @property {string} [agent] needed by `create()`
 * @property {readonly ToolLike[]} [tools] what this tab executes for the session
 * @property {boolean} [anyTool] this tab answers calls of other tools too, by `submitToolResult`
 * @property {import('./types.js').Detail} [detail]
 * @property {number} [messages] how many of the newest the state holds at first
 * @property {Record<string, unknown>} [metadata] of a session that is created
 */

/**
 * @typedef {object} Snapshot what a page draws; the same object until something changes
 * @property {import('./hearing.js').SessionStatus} status
 * @property {SessionState | null} state
 * @property {readonly ShownMessage[]} messages with the older ones that were loaded, those that
 *   wait for a run, and one's own that are under way
 * @property {boolean} more there are older messages: `loadOlder()`
 * @property {import('./types.js').Detail | null} detail as granted
 * @property {GatewayError | null} error
 */

/** The handle of one session: its state, its events, and what one asks of it. */
export class Session extends SessionHearing {
  /** @type {import('./types.js').Detail | null} as granted */
  detail = null;
  #older = new Older();
  #outcomes = new Outcomes();
  /** @type {Set<() => void>} */
  #listeners = new Set();

  /**
   * @param {string} id
   * @param {SessionOptions} options
   * @param {SessionPort} port
   */
  constructor(id, options, port) {
    super(id, port);
    this.options = options;
    /** @type {Snapshot} */
    this.snapshot = this.#draw();
    this.notify = port.batched(() => {
      this.tidy();
      this.snapshot = this.#draw();
      tellAll(this.#listeners, port.clock);
    });
    this.subscribe = this.subscribe.bind(this);
    this.getSnapshot = this.getSnapshot.bind(this);
  }

  /** Open calls that wait for `submitToolResult`. */
  get pendingToolCalls() {
    return this.state ? this.port.tools.unhandled(this.state) : [];
  }

  /** The questions that wait for `approve` or `deny`. */
  get pendingApprovals() {
    return Object.values(this.state?.approvals ?? {}).filter(({ decision }) => !decision);
  }

  /**
   * What the agent said in a run so far, its messages one after the other.
   * @param {string} run
   */
  text(run) {
    const messages = this.state?.messages ?? [];
    return messages.map((message) => (message.run === run ? textOf(message) : '')).join('');
  }

  // --- life

  /**
   * Create the session, or find one's own, and subscribe to it; both go out at once.
   * @param {Limits} [limits]
   * @returns {Promise<AnyFrame>} `ok {session, existing?}`
   */
  create(limits = {}) {
    const { agent, metadata, tools = [] } = this.options;
    if (!agent) throw new GatewayError('client.usage', 'create() needs the option `agent`.');
    const id = this.port.makeId('k');
    const created = this.command('session.create', {
      id,
      agent,
      ...(metadata ? { metadata } : {}),
      ...(tools.length ? { tools: tools.map((tool) => wireTool(built(tool))) } : {}),
      ...limits,
    });
    this.open(id);
    return created;
  }

  /**
   * Subscribe to a session that exists.
   * @param {string} [after] id of a command that must be stored first
   */
  open(after) {
    const { anyTool, detail, messages } = this.options;
    const tools = (this.options.tools ?? []).map(built);
    if (anyTool) tools.push({ name: ANY, parameters: {} });
    this.status = 'opening';
    this.error = null;
    this.port.tools.declare(this.id, tools);
    const names = anyTool ? [ANY] : tools.map((tool) => tool.name);
    this.port.subscribe(
      this.id,
      {
        ...(detail ? { detail } : {}),
        ...(names.length ? { tools: names } : {}),
        ...(messages === undefined ? {} : { messages }),
      },
      after,
    );
    this.notify();
  }

  /**
   * Other tools from now on, for the agent and for this tab.
   * @param {readonly ToolLike[]} tools
   * @param {Limits} [limits]
   */
  useTools(tools, limits = {}) {
    if (this.status === 'closed') return Promise.reject(this.silence);
    this.options = { ...this.options, tools };
    const changed = this.update({ tools: tools.map((tool) => wireTool(built(tool))), ...limits });
    this.open();
    if (this.state) this.port.tools.observe(this.state);
    return changed;
  }

  /** Stop listening, and give up the calls this tab was executing for it. The session lives on. */
  close() {
    if (this.status !== 'closed') this.#end(null);
  }

  // --- hearing of it

  /**
   * Hear of changes of the snapshot, at most once per animation frame.
   * @param {() => void} listener
   * @returns {() => void} stops it
   */
  subscribe(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** What a page draws: replaced before listeners are called, else the same object. */
  getSnapshot() {
    return this.snapshot;
  }

  /**
   * Wait for the end of a run; null if it ended where its end could not be seen.
   * @param {import('./outcomes.js').Launched} launched what `send` or `run` resolved with
   * @param {Limits} [limits]
   * @returns {Promise<Run | null>}
   */
  async finished(launched, limits) {
    await this.waitUntil(() => this.isOver(launched), limits);
    return this.ended(launched);
  }

  /**
   * How a run ended; null if it has not, or its end could not be seen.
   * @param {Partial<import('./outcomes.js').Launched>} launched
   */
  ended(launched) {
    return this.#outcomes.of(launched);
  }

  /**
   * Whether a run has ended.
   * @param {import('./outcomes.js').Launched} launched
   */
  isOver(launched) {
    return this.#outcomes.isOver(launched, this.state);
  }

  /**
   * Put a page of older messages before those that are shown.
   * @param {{limit?: number} & Limits} [options]
   * @returns {Promise<boolean>} whether there are more
   */
  async loadOlder({ limit = PAGE, ...limits } = {}) {
    const before = this.#older.before(this.state);
    if (this.#older.more(this.state)) {
      const page = await this.messages({ before, limit, ...limits });
      this.#older.add(/** @type {any} */ (page), before, this.state);
      this.notify();
    }
    return this.#older.more(this.state);
  }

  // --- what the client feeds in

  /** @param {SessionEvent} event */
  applyEvent(event) {
    const state = apply(this.state, event);
    this.#take(state);
    this.port.tools.heed(event, state);
    this.tell(event, state);
    if (event.type === 'session.deleted') this.refuse(deleted(this.id));
  }

  /**
   * @param {SessionState} state
   * @param {import('./types.js').Detail} detail
   */
  reset(state, detail) {
    this.#take(state);
    this.detail = detail;
    this.status = 'open';
    this.port.tools.observe(state);
    this.restart(state);
  }

  /**
   * The state goes on as it is, by the events that follow; what is seen of them may be other.
   * @param {import('./types.js').Detail} [detail] as granted
   * @internal
   */
  recover(detail) {
    this.detail = detail ?? this.detail;
    this.status = 'open';
    if (this.state) this.port.tools.observe(this.state);
    this.changed();
  }

  /** @param {GatewayError} error */
  refuse(error) {
    this.#end(error);
  }

  /** @param {GatewayError | null} error */
  #end(error) {
    this.status = 'closed';
    this.error = error;
    this.port.tools.forget(this.id);
    this.port.unsubscribe(this.id);
    this.finish(error);
  }

  /** @param {SessionState} state */
  #take(state) {
    this.#older.keep(state);
    this.#outcomes.note(state);
    this.state = state;
  }

  /** @returns {Snapshot} */
  #draw() {
    const { status, state, detail, error } = this;
    const messages = shown(this.#older.messages, state, this.outgoing);
    return { status, state, messages, more: this.#older.more(state), detail, error };
  }
}

/** @param {string} id */
function deleted(id) {
  return new GatewayError('session.not_found', `Session ${id} was deleted.`);
}
