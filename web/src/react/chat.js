/**
 * One conversation as a component sees it: a snapshot to draw and the actions to offer. No React.
 *
 * Nothing happens before `start()`: a component that is drawn but never shown, or drawn on a
 * server, opens nothing. The session is created with the first message, or at the start where it
 * has a name already.
 */

import { GatewayError } from '../errors.js';
import { hasEnded } from '../outcomes.js';
import { wireTool } from '../tools.js';
import { whole } from '../whole.js';
import { activityOf } from '../words.js';
import { actionsOf } from './actions.js';
import { shapeOf } from './config.js';

/** @typedef {import('../session.js').Session} Session */
/** @typedef {import('../client.js').GatewayClient} GatewayClient */
/** @typedef {import('../types.js').Progress} Progress */
/** @typedef {import('../tools.js').ClientTool} ClientTool */
/** @typedef {import('../outgoing.js').ShownMessage} ShownMessage */
/** @typedef {'idle' | 'connecting' | 'streaming' | 'error'} ChatStatus */
/** @typedef {ShownMessage & {text: string, content: string, done: boolean}} ChatMessage */

/**
 * @typedef {object} ChatSnapshot the same object until something changes
 * @property {string | null} chatId the session's id; null before the first message
 * @property {readonly ChatMessage[]} messages unchanged ones keep their identity
 * @property {ChatStatus} status
 * @property {boolean} isGenerating
 * @property {string | null} error
 * @property {Error | null} failure the same with its code
 * @property {import('../types.js').Status} connectionStatus
 * @property {{id: string, status: 'idle' | 'busy' | 'awaiting_input'} | null} chat
 * @property {string} activity what goes on, in words; empty when nothing does
 * @property {import('../types.js').SessionState | null} state
 * @property {import('../types.js').Run | null} run the newest one, live or ended
 * @property {Readonly<Record<string, Progress>>} progress of the calls that told of it, by call id
 * @property {readonly import('../types.js').Call[]} pendingToolCalls for `submitToolResult`
 * @property {readonly import('../types.js').Approval[]} pendingApprovals
 * @property {boolean} hasOlderMessages
 */

/**
 * @typedef {object} Callbacks
 * @property {(id: string) => void} [onChatCreated]
 * @property {(status: ChatStatus) => void} [onStatusChange]
 * @property {(error: Error) => void} [onError]
 * @property {(snapshot: ChatSnapshot) => void} [onTurnEnd]
 */

/**
 * @typedef {object} ChatPort
 * @property {() => GatewayClient} client
 * @property {() => () => void} holdClient
 * @property {(client: GatewayClient, id: string, options: import('../session.js').SessionOptions)
 *   => {session: Session, release: () => void}} holdSession
 * @property {Pick<Storage, 'getItem' | 'setItem' | 'removeItem'> | null} storage
 */

const GONE = new Set(['session.not_found', 'session.exists']);
const RETRY_MS = 1_000;
const NONE = /** @type {readonly any[]} */ (Object.freeze([]));

/** @type {WeakMap<Session, Chat[]>} those that show a session, the newest last */
const answering = new WeakMap();
/** @type {WeakSet<object>} tools that chats declared */
const offered = new WeakSet();

/** @type {ChatSnapshot} */
const EMPTY = Object.freeze({
  chatId: null,
  messages: NONE,
  status: 'idle',
  isGenerating: false,
  error: null,
  failure: null,
  connectionStatus: 'closed',
  chat: null,
  activity: '',
  state: null,
  run: null,
  progress: Object.freeze({}),
  pendingToolCalls: NONE,
  pendingApprovals: NONE,
  hasOlderMessages: false,
});

export class Chat {
  /** @type {Session | null} */
  session = null;
  /** Between `start()` and its end; nothing is opened or drawn outside of it. */
  started = false;
  /** @type {Callbacks} */
  callbacks = {};
  /** @type {Map<string, ClientTool>} as they are now: a component gives new ones at every draw */
  #tools = new Map();
  /** @type {readonly ClientTool[]} the same, each with a handler that calls the one of now */
  #declared = [];
  #shape = '';
  /** @type {string | null} of the session to take up at the next start */
  #id = null;
  /** @type {Error | null} */
  #failure = null;
  /** @type {Error | null} a command's, or the session's */
  #told = null;
  /** @type {string | null} the failed run that the person has been done with */
  #dismissed = null;
  /** @type {Error | null} the session's, that the person has been done with */
  #seen = null;
  /** @type {Readonly<Record<string, Progress>>} */
  #progress = {};
  /** @type {WeakMap<object, ChatMessage>} */
  #wholes = new WeakMap();
  /** @type {Set<() => void>} */
  #listeners = new Set();
  /** @type {(() => void)[]} ends of what was started */
  #ends = [];
  /** @type {(() => void)[]} ends of what the session was given */
  #leave = [];
  #snapshot = EMPTY;

  /**
   * @param {import('./config.js').ChatPlan} plan
   * @param {ChatPort} port
   */
  constructor(plan, port) {
    this.plan = plan;
    this.port = port;
    this.#id = plan.session ?? null;
    this.actions = actionsOf(this);
    this.subscribe = this.subscribe.bind(this);
    this.getSnapshot = this.getSnapshot.bind(this);
  }

  /** @returns {GatewayClient} */
  get client() {
    return this.port.client();
  }

  /** @param {() => void} listener */
  subscribe(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  getSnapshot() {
    return this.#snapshot;
  }

  /** What a server draws. */
  getServerSnapshot() {
    return EMPTY;
  }

  /**
   * Connect, and take up the session if there is one.
   * @returns {() => void} stops it; the session and its run live on
   */
  start() {
    this.started = true;
    this.#ends.push(this.port.holdClient());
    this.#ends.push(this.client.onStatus(() => this.#changed()));
    const { persist } = this.plan;
    this.#id ??= persist ? (this.port.storage?.getItem(persist) ?? null) : null;
    if (this.#id) this.#open(this.#id);
    this.#changed();
    return () => {
      this.started = false;
      this.#close();
      for (const end of this.#ends.splice(0)) end();
    };
  }

  /** The session, unless its handle is closed. */
  get #live() {
    return this.session?.status === 'closed' ? null : this.session;
  }

  /**
   * The tools as they are now; the gateway hears of it when more than a handler changed.
   * @param {readonly ClientTool[]} tools
   */
  useTools(tools) {
    const shape = shapeOf(tools);
    const other = shape !== this.#shape;
    this.#tools = new Map(tools.map((tool) => [tool.name, tool]));
    this.#shape = shape;
    if (!other) return;
    this.#declared = [...this.#tools.values()].map((tool) => this.#handled(tool));
    offered.add(this.#declared);
    const session = this.#live;
    if (session) void this.attempt(session.useTools(this.#declared));
  }

  /**
   * The session, made now if there is none.
   * @returns {Session}
   */
  opened() {
    if (!this.started) throw new GatewayError('client.closed', 'This chat is not on the page.');
    if (this.#live) return this.#live;
    const before = this.session;
    // One that never was open may not have been made yet.
    if (before?.state && GONE.has(before.error?.code ?? '')) this.#id = null;
    this.#close();
    const session = this.#open(this.#id ?? this.client.makeId('s'));
    if (before) session.adopt(before);
    return session;
  }

  /** Begin anew: the next message makes another session. */
  reset() {
    this.#close();
    this.#id = null;
    this.#failure = this.#told = this.#dismissed = null;
    this.#progress = {};
    if (this.plan.persist) this.port.storage?.removeItem(this.plan.persist);
    this.#changed();
  }

  clearError() {
    const run = this.session?.state?.run;
    this.#told = null;
    if (run && hasEnded(run)) this.#dismissed = run.id;
    this.#seen = this.session?.error ?? null;
    this.#changed();
  }

  /**
   * The result of a command; null if it failed, and then `error` says why.
   * @template T
   * @param {Promise<T>} command
   * @returns {Promise<T | null>}
   */
  async attempt(command) {
    try {
      return await command;
    } catch (error) {
      // What follows from a session that could not be made is not worth more than why.
      const follows = error instanceof GatewayError && GONE.has(error.code);
      if (!this.#told || !follows) {
        this.#told = error instanceof Error ? error : new Error(String(error));
      }
      this.#changed();
      return null;
    }
  }

  /** @param {string} id */
  #open(id) {
    const tools = this.#declared;
    const options = { ...this.plan.options, tools, anyTool: !tools.length };
    const { session, release } = this.port.holdSession(this.client, id, options);
    const { persist } = this.plan;
    if (persist) this.port.storage?.setItem(persist, id);
    this.#id = id;
    this.session = session;
    this.#leave = [
      this.#answer(session),
      release,
      session.subscribe(() => this.#changed()),
      session.onEvent((event) => this.#hear(event)),
    ];
    if (session.status === 'idle') void this.#create(session);
    else this.#offer();
    this.#changed();
    return session;
  }

  /**
   * The newest chat of a session answers its calls; when it goes, the one before.
   * @param {Session} session
   * @returns {() => void}
   */
  #answer(session) {
    const chats = answering.get(session) ?? [];
    answering.set(session, chats);
    chats.push(this);
    return () => {
      chats.splice(chats.indexOf(this), 1);
      const heir = chats.findLast((chat) => chat.#declared.length) ?? chats.at(-1);
      if (heir && session.options.tools === this.#declared) heir.#offer();
    };
  }

  /** Declare the tools of this chat; one without any leaves those of others that are shown. */
  #offer() {
    const session = this.#live;
    if (!session) return;
    const { tools = NONE, anyTool } = session.options;
    const mine = this.#declared;
    const left = tools.length && offered.has(tools) && answering.get(session)?.length === 1;
    if (tools === mine || (!mine.length && !left)) return;
    session.options = { ...session.options, anyTool: anyTool || !mine.length };
    void this.attempt(session.useTools(mine));
  }

  /** @param {Session} session */
  async #create(session) {
    try {
      const mine = this.#declared;
      const { existing } = await session.create();
      if (!existing) return this.callbacks.onChatCreated?.(session.id);
      const state = await session.waitUntil(() => true);
      if (session.options.tools !== mine) return;
      const tools = mine.map(wireTool);
      const known = JSON.stringify(state.tools) === JSON.stringify(tools);
      if (tools.length && !known) await session.update({ tools });
    } catch (error) {
      const { code, retryable } = /** @type {GatewayError} */ (error);
      if (this.session === session) {
        if (retryable) return this.#createLater(session);
        if (GONE.has(code)) this.#id = null;
        if (GONE.has(code) && this.plan.persist) return this.reset();
      }
      void this.attempt(Promise.reject(error));
    }
  }

  /** @param {Session} session could not be made now, and may have been refused since */
  #createLater(session) {
    const { clock } = this.client;
    const again = () => void (this.opened() === session && this.#create(session));
    const timer = clock.setTimeout(again, RETRY_MS);
    this.#leave.push(() => clock.clearTimeout(timer));
  }

  #close() {
    for (const leave of this.#leave.splice(0)) leave();
    this.session = null;
  }

  /**
   * @param {ClientTool} tool
   * @returns {ClientTool}
   */
  #handled(tool) {
    if (!tool.handler) return tool;
    return { ...tool, handler: (run) => this.#tools.get(tool.name)?.handler?.(run) };
  }

  /** @param {import('../types.js').SessionEvent} event */
  #hear({ type, call, current, total, text }) {
    if (type === 'tool_call.progress') {
      this.#progress = { ...this.#progress, [call]: { current, total, text } };
    } else if (type === 'tool_call.completed' && call in this.#progress) {
      const { [call]: _, ...rest } = this.#progress;
      this.#progress = rest;
    }
  }

  #changed() {
    if (!this.started) return;
    const before = this.#snapshot;
    const now = this.#draw();
    this.#snapshot = now;
    for (const listener of this.#listeners) listener();
    const { onStatusChange, onError, onTurnEnd } = this.callbacks;
    if (now.status !== before.status) onStatusChange?.(now.status);
    if (now.failure && now.failure !== before.failure) onError?.(now.failure);
    if (before.isGenerating && !now.isGenerating && now.chatId === before.chatId) onTurnEnd?.(now);
  }

  /** @returns {ChatSnapshot} */
  #draw() {
    const { session } = this;
    const drawn = session?.getSnapshot();
    const state = drawn?.state ?? null;
    const messages = (drawn?.messages ?? NONE).map((message) => this.#whole(message));
    const run = state?.run ?? null;
    const live = run !== null && !hasEnded(run);
    const sending = messages.some(({ status }) => status === 'sending' || status === 'queued');
    const isGenerating = live || sending || Boolean(state?.queue.length);
    const pendingApprovals = session?.pendingApprovals ?? NONE;
    const connectionStatus = this.client.status;
    const opening = session !== null && drawn?.status === 'opening' && !state;
    const failure = this.#failed(run);
    const asking = live && run.status === 'waiting' && pendingApprovals.length > 0;
    return {
      chatId: session?.id ?? null,
      messages,
      status: failure
        ? 'error'
        : connectionStatus !== 'open' || opening
          ? 'connecting'
          : isGenerating
            ? 'streaming'
            : 'idle',
      isGenerating,
      error: failure?.message ?? null,
      failure,
      connectionStatus,
      chat: session && {
        id: session.id,
        status: asking ? 'awaiting_input' : isGenerating ? 'busy' : 'idle',
      },
      activity: state ? activityOf(state) : sending ? 'Starting' : '',
      state,
      run,
      progress: this.#progress,
      pendingToolCalls: session?.pendingToolCalls ?? NONE,
      pendingApprovals,
      hasOlderMessages: drawn?.more ?? false,
    };
  }

  /** @param {import('../types.js').Run | null} run */
  #failed(run) {
    const { code, reason } = this.client.connection;
    const closed = this.client.status === 'closed' && code !== 1000 && code !== 0;
    const ended = run?.status === 'failed' && run.id !== this.#dismissed;
    const refused = this.session?.error ?? null;
    const next =
      this.#told ??
      (refused === this.#seen ? null : refused) ??
      (ended ? new GatewayError(run.error?.code ?? 'internal', run.error?.message ?? '') : null) ??
      (closed ? new GatewayError('client.closed', reason || `Refused (${code}).`) : null);
    const same = next && this.#failure?.message === next.message;
    if (!same) this.#failure = next;
    return this.#failure;
  }

  /**
   * @param {ShownMessage} message
   * @returns {ChatMessage}
   */
  #whole(message) {
    const known = this.#wholes.get(message);
    if (known) return known;
    const made = whole(/** @type {any} */ (message));
    const drawn = /** @type {ChatMessage} */ (/** @type {any} */ ({ ...made, content: made.text }));
    this.#wholes.set(message, drawn);
    return drawn;
  }
}
