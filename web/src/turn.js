/**
 * One message and what the agent makes of it: growing replies, until it is the caller's turn.
 *
 * Looks at the state after every change, so an event that was missed changes nothing. It is the
 * caller's turn when the run has ended, or when it waits for results and decisions that only the
 * caller can give.
 */

import { onAbort } from './abort.js';
import { GatewayError } from './errors.js';
import { textOf, updatesOf } from './whole.js';

/** @typedef {import('./session.js').Session} Session */
/** @typedef {import('./hearing.js').OfferedCall} OfferedCall */
/** @typedef {import('./types.js').Message} Message */
/** @typedef {import('./whole.js').MessageUpdate} MessageUpdate */

/**
 * @typedef {object} Reply an answer so far
 * @property {string} text the whole of it
 * @property {boolean} done nothing more comes before the caller does something
 * @property {import('./types.js').Run | null} run as it is, or as it ended
 * @property {GatewayError | null} error why the run failed
 * @property {import('./types.js').Call[]} pendingToolCalls
 * @property {import('./types.js').Approval[]} pendingApprovals
 * @property {Message | undefined} userMessage
 * @property {Message | undefined} assistantMessage the newest of this run
 */

/**
 * @typedef {object} Callbacks
 * @property {(update: MessageUpdate) => void} [onMessage] a text that grew, whole
 * @property {(call: OfferedCall) => unknown} [onToolCall] a call of one of the page's tools; one
 *   without a handler may be answered here by `submitToolResult`
 * @property {(reply: Reply) => void} [onReply]
 */

export class Turn {
  /** @type {Map<string, Message>} */
  #seen = new Map();
  /** @type {Set<string>} calls that somebody was told of */
  #offered = new Set();
  /** @type {Set<string>} calls whose `onToolCall` has not settled */
  #asked = new Set();
  /** @type {string | undefined} */
  #text;

  /**
   * @param {Session} session
   * @param {import('./outcomes.js').Launched & {message?: string, run: string}} launched
   * @param {Callbacks} callbacks
   * @param {ReadonlySet<string>} [answered] calls whose result is under way
   */
  constructor(session, launched, callbacks, answered = new Set()) {
    this.session = session;
    this.launched = launched;
    this.callbacks = callbacks;
    this.answered = answered;
    /** @type {(reply: Reply) => void} */
    this.resolve = () => {};
    /** @type {(error: unknown) => void} */
    this.reject = () => {};
  }

  /**
   * Follow the run until it is the caller's turn.
   * @param {AbortSignal} [signal] stops looking
   * @returns {Promise<Reply>}
   */
  async follow(signal) {
    const leave = [this.session.watch(() => this.#attempt())];
    try {
      return await new Promise((resolve, reject) => {
        this.resolve = resolve;
        this.reject = reject;
        leave.push(onAbort(signal, reject));
        this.#attempt();
      });
    } finally {
      for (const callback of leave) callback();
    }
  }

  #attempt() {
    try {
      this.#look();
    } catch (error) {
      this.reject(error);
    }
  }

  #look() {
    const { session, launched } = this;
    const { onMessage, onReply } = this.callbacks;
    for (const message of session.state?.messages ?? []) {
      if (message.run !== launched.run || this.#seen.get(message.id) === message) continue;
      if (onMessage) updatesOf(message, this.#seen.get(message.id)).forEach(onMessage);
      this.#seen.set(message.id, message);
    }
    this.#offer();
    const reply = this.#reply();
    if (reply.text !== this.#text || reply.done) onReply?.(reply);
    this.#text = reply.text;
    if (reply.done) this.resolve(reply);
    else if (session.silence) this.reject(session.silence);
  }

  #offer() {
    const { onToolCall } = this.callbacks;
    if (!onToolCall) return;
    for (const call of Object.values(this.session.state?.calls ?? {})) {
      const open = call.status === 'requested' || call.status === 'claimed';
      const mine = call.run === this.launched.run && call.target === 'client';
      if (!open || !mine || this.#offered.has(call.id)) continue;
      this.#offered.add(call.id);
      this.#asked.add(call.id);
      void this.#ask(onToolCall, { ...call, args: call.arguments });
    }
  }

  /**
   * A call that its callback left alone is the caller's.
   * @param {(call: OfferedCall) => unknown} onToolCall
   * @param {OfferedCall} call
   */
  async #ask(onToolCall, call) {
    try {
      await onToolCall(call);
      this.#asked.delete(call.id);
      this.#attempt();
    } catch (error) {
      this.reject(error);
    }
  }

  /** @returns {Reply} */
  #reply() {
    const { session, launched } = this;
    const run = session.ended(launched) ?? liveRun(session, launched.run);
    const waits = run?.status === 'waiting' ? (run.on ?? []) : [];
    const calls = session.pendingToolCalls.filter(
      ({ id }) => waits.includes(id) && !this.answered.has(id) && !this.#asked.has(id),
    );
    const approvals = session.pendingApprovals.filter(({ id }) => waits.includes(id));
    const mine = calls.length + approvals.length;
    const messages = session.state?.messages ?? [];
    const assistant = messages.filter(({ run: of }) => of === launched.run);
    return {
      text: assistant.map((message) => textOf(message)).join(''),
      done: session.isOver(launched) || (mine > 0 && mine === waits.length),
      run,
      error: run?.error ? new GatewayError(run.error.code, run.error.message) : null,
      pendingToolCalls: calls,
      pendingApprovals: approvals,
      userMessage: messages.find(({ id }) => id === launched.message),
      assistantMessage: assistant.at(-1),
    };
  }
}

/**
 * @param {Session} session
 * @param {string} id
 */
function liveRun({ state }, id) {
  if (state?.run?.id === id) return state.run;
  return state?.queue.find((run) => run.id === id) ?? null;
}
