/**
 * A run on its own: an app, its input, and updates until it ends. Each is one session of its own
 * on the client's socket.
 */

import { deadline, limited, onAbort } from './abort.js';
import { GatewayError } from './errors.js';
import { Mailbox } from './mailbox.js';

/** @typedef {import('./session.js').Session} Session */
/** @typedef {import('./types.js').SessionEvent} SessionEvent */
/** @typedef {import('./types.js').SessionState} SessionState */
/** @typedef {import('./types.js').Run} Run */

/**
 * @typedef {object} Task
 * @property {string} [app] the agent's name at the gateway
 * @property {string} [agent] the same
 * @property {unknown} [input] any JSON
 * @property {Record<string, unknown>} [metadata] of the session
 */

/**
 * @typedef {'queued' | 'preparing' | 'serving' | 'setting_up' | 'running' | 'waiting' | 'uploading'
 *   | 'completed' | 'failed' | 'cancelled'} TaskStatus
 */

/**
 * @typedef {object} Update what is new; fields without news are left out
 * @property {TaskStatus} status
 * @property {string[]} [logs] since the last update
 * @property {{current: number, total?: number, text?: string}} [progress]
 * @property {unknown} [partial_output] the output so far
 * @property {string} [text] all that the agent has said so far
 * @property {string} [activity]
 * @property {unknown} [output] of a run that is completed
 * @property {GatewayError} [error] of a run that failed
 */

/**
 * @typedef {object} RunFields
 * @property {boolean} [stream] resolve with a `RunStream` as soon as the run is stored
 * @property {(update: Update) => void} [onUpdate]
 */

/** @typedef {RunFields & import('./abort.js').Limits} RunOptions limits stop the run as well */

/** Activities that say where a task is. */
const PHASES = new Set(['preparing', 'serving', 'setting_up', 'uploading']);
const MAX_WAITING = 1_000;
const MAX_LOGS = 10_000;

/**
 * The updates of a run, to be iterated over once.
 * @extends {Mailbox<Update>}
 */
export class RunStream extends Mailbox {
  /** @type {Update | null} all of them in one */
  last = null;

  /**
   * @param {Session} session
   * @param {string} run
   * @param {() => void} leave
   */
  constructor(session, run, leave) {
    super(leave);
    this.session = session;
    this.run = run;
  }

  /**
   * Whoever leaves the loop stops listening; the run goes on.
   * @returns {Promise<IteratorResult<Update>>}
   */
  return() {
    const left = super.return();
    this.session.close();
    return left;
  }

  /** Stop the run. */
  async cancel() {
    await this.session.stop({ run: this.run });
  }

  /** @param {Update} update */
  put(update) {
    const waiting = this.items.at(-1);
    if (waiting && (onlyText(waiting, update) || this.items.length >= MAX_WAITING)) {
      this.items[this.items.length - 1] = merged(waiting, update);
    } else this.add(update);
    this.last = merged(this.last, update);
  }
}

/**
 * @param {Session} session a new one
 * @param {unknown} input
 * @param {RunOptions} options
 * @param {import('./types.js').Clock} clock
 * @returns {Promise<RunStream>} once the run is stored
 */
export async function streamed(session, input, { signal: given, timeout_ms, onUpdate }, clock) {
  const { signal, release } = deadline({ signal: given, timeout_ms }, clock);
  /** @type {[SessionEvent, SessionState][]} that came before the run's id was known */
  const early = [];
  /** @type {(event: SessionEvent, state: SessionState) => void} */
  let hear = (event, state) => void early.push([event, state]);
  /** @type {(() => void)[]} */
  const leave = [release, session.onEvent((event, state) => hear(event, state))];
  const over = () => leave.forEach((callback) => callback());
  const launching = Promise.all([session.create(), session.run(input)]);
  try {
    const [, launched] = await limited(launching, { signal }, clock);
    const stream = new RunStream(session, launched.run, over);
    /** @param {Update} update */
    const put = (update) => {
      stream.put(update);
      onUpdate?.(update);
    };
    const teller = new Teller(session, launched, put);
    hear = (event, state) => teller.hear(event, state);
    leave.push(session.watch(() => teller.look(stream)));
    leave.push(
      onAbort(signal, (reason) => {
        stream.abort(reason);
        void giveUp(session, launched.run);
      }),
    );
    early.forEach(([event, state]) => hear(event, state));
    teller.look(stream);
    return stream;
  } catch (error) {
    over();
    void launching.then(
      ([, { run }]) => giveUp(session, run),
      () => session.close(),
    );
    throw error;
  }
}

/**
 * The last update of a run; rejects when it did not complete.
 * @param {RunStream} stream
 * @returns {Promise<Update>}
 */
export async function outcome(stream) {
  for await (const _ of stream);
  const last = /** @type {Update} */ (stream.last);
  if (last.status === 'failed') throw last.error;
  if (last.status !== 'completed') throw new GatewayError('client.cancelled', 'It was stopped.');
  return last;
}

/** Tells a run's updates of what happens in its session. */
class Teller {
  #ended = false;

  /**
   * @param {Session} session
   * @param {import('./outcomes.js').Launched & {run: string}} launched
   * @param {(update: Update) => void} put
   */
  constructor(session, launched, put) {
    this.session = session;
    this.launched = launched;
    this.put = put;
  }

  /**
   * @param {SessionEvent} event
   * @param {SessionState} state after it
   */
  hear(event, state) {
    const { run: id } = this.launched;
    const run = state.run?.id === id ? state.run : state.queue.find((one) => one.id === id);
    if (!run || this.#ended || !concerns(event, id, state)) return;
    const status = statusOf(run);
    this.#ended = ENDS.has(status);
    this.put({ status, ...news(event, run, () => this.session.text(id)) });
  }

  /**
   * Without the event of its end, the state tells.
   * @param {RunStream} stream
   */
  look(stream) {
    const { session, launched } = this;
    if (!stream.over && session.isOver(launched)) {
      const run = session.ended(launched);
      if (!this.#ended && run) this.put({ status: statusOf(run), ...ending(run) });
      stream.end();
      session.close();
    } else if (session.silence) {
      stream.end(session.silence);
      session.close();
    }
  }
}

const ENDS = new Set(['completed', 'failed', 'cancelled']);

/**
 * @param {Run} run
 * @returns {TaskStatus}
 */
function statusOf({ status, activity }) {
  const phase = activity !== undefined && PHASES.has(activity) && status === 'running';
  return phase ? /** @type {TaskStatus} */ (activity) : status;
}

/**
 * @param {SessionEvent} event
 * @param {string} run
 * @param {SessionState} state
 */
function concerns(event, run, state) {
  if (event.run !== undefined) return event.run === run;
  return state.messages.some(({ id, run: of }) => id === event.message && of === run);
}

/**
 * @param {SessionEvent} event
 * @param {Run} run
 * @param {() => string} text
 * @returns {Partial<Update>}
 */
function news(event, run, text) {
  switch (event.type) {
    case 'run.log':
      return { logs: [event.text] };
    case 'run.progress':
      return { progress: /** @type {Update['progress']} */ (run.progress) };
    case 'run.output':
      return { partial_output: event.output };
    case 'run.activity':
      return { activity: event.activity };
    case 'message.delta':
    case 'message.part':
      return { text: text() };
    default:
      return ending(run);
  }
}

/**
 * @param {Run} run
 * @returns {Partial<Update>}
 */
function ending({ status, output, error }) {
  if (status === 'completed') return output === undefined ? {} : { output };
  return error ? { error: new GatewayError(error.code, error.message) } : {};
}

/**
 * @param {Update | null} before
 * @param {Update} update
 * @returns {Update} of the logs the newest
 */
function merged(before, update) {
  if (!before?.logs || !update.logs) return { ...before, ...update };
  return { ...before, ...update, logs: [...before.logs, ...update.logs].slice(-MAX_LOGS) };
}

/**
 * Whether one text may take the place of another that nobody read.
 * @param {Update} waiting
 * @param {Update} update
 */
function onlyText(waiting, update) {
  const texts = Object.keys(waiting).every((key) => key === 'status' || key === 'text');
  return texts && 'text' in waiting && 'text' in update && waiting.status === update.status;
}

/**
 * @param {Session} session
 * @param {string} run
 */
async function giveUp(session, run) {
  try {
    await session.stop({ run });
  } catch {
    // It has ended, or the client is closed: there is nothing left to stop.
  } finally {
    session.close();
  }
}
