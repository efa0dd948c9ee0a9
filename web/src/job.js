/**
 * One tool call in this tab: claim, execute, renew, deliver (docs/protocol.md).
 *
 * A job ends once: with its result stored, refused, or cancelled. The result keeps its command id
 * for every try, so however often it is sent it counts once. Which calls become jobs is decided
 * in `tools`.
 */

import { wait } from './clock.js';
import { GatewayError } from './errors.js';
import { filePart } from './files.js';

const RETRY_MS = 1_000;
const PROGRESS_MS = 250;
const LEASE_MS = 15_000;
const REFUSED = new Set(['tool.held', 'tool.closed', 'tool.unknown', 'client.closed']);

/** @typedef {import('./types.js').AnyFrame} AnyFrame */
/** @typedef {import('./files.js').FileLike} FileLike */

/**
 * @typedef {object} Result
 * @property {unknown} [output]
 * @property {import('./types.js').WireError} [error]
 * @property {import('./files.js').FilePart[]} [files]
 */

/**
 * @typedef {object} ToolContext
 * @property {any} args
 * @property {AbortSignal} signal aborted when the call is closed, cancelled or taken over
 * @property {(progress: import('./types.js').Progress) => void} progress
 * @property {(...files: FileLike[]) => void} attach files that go with the output
 */

/** @typedef {ToolContext & {[argument: string]: any}} ToolRun what a handler gets */

/** @typedef {(run: ToolRun) => unknown} ToolHandler */

/**
 * @typedef {object} JobOptions
 * @property {string} session
 * @property {import('./types.js').Call} call
 * @property {ToolHandler} handler
 * @property {number} delay_ms before the claim
 * @property {() => void} began the handler is called
 * @property {(frame: AnyFrame) => Promise<AnyFrame>} command
 * @property {import('./ids.js').MakeId} makeId
 * @property {import('./types.js').Clock} clock
 */

export class Job {
  #controller = new AbortController();
  /** @type {any} */
  #timer = null;
  #renewing = false;
  #renewedAt = 0;
  #executing = false;
  #lease_ms = LEASE_MS;
  /** @type {import('./types.js').Progress | undefined} */
  #progress;

  /** @param {JobOptions} options */
  constructor(options) {
    this.options = options;
    this.call = options.call;
  }

  /** Whether its result has been answered, so that the call must not be executed here again. */
  delivered = false;

  /**
   * The result, while the client is closed.
   * @type {AnyFrame | null}
   */
  kept = null;

  /** Whether it has not been cancelled. */
  get live() {
    return !this.#controller.signal.aborted;
  }

  /** Claims, executes and delivers; resolves when nothing is left to do, and never rejects. */
  async run() {
    await wait(this.options.clock, this.options.delay_ms, this.#controller.signal);
    if (!(await this.#claim())) return;
    const result = await this.#execute();
    await this.#deliver({ ...this.#frame('tool.result'), ...result });
  }

  /** Send the result that was kept: the same one, so it counts once. */
  async redeliver() {
    const frame = this.kept;
    this.kept = null;
    if (frame) await this.#deliver(frame);
  }

  /** Stop: the handler's signal is aborted and no result is sent any more. */
  cancel() {
    this.#stopRenewing();
    this.#controller.abort();
  }

  /** The lease was lost while the handler ran: take it back, or stop if another tab has it. */
  async reclaim() {
    if (this.#executing && !(await this.#claim())) this.cancel();
  }

  /** @param {string} type */
  #frame(type) {
    const { makeId, session } = this.options;
    return { type, id: makeId('k'), session, call: this.call.id };
  }

  /** @returns {Promise<boolean>} whether this tab holds the call */
  async #claim() {
    try {
      const ok = await this.#insist(() => this.#frame('tool.claim'));
      this.#lease_ms = ok?.lease_ms ?? LEASE_MS;
      return ok !== null && this.live;
    } catch {
      // Held by another tab, or closed: either way not ours to execute.
      return false;
    }
  }

  /** @returns {Promise<Result>} */
  async #execute() {
    this.#executing = true;
    this.options.began();
    this.#renewedAt = this.options.clock.now();
    this.#arm(this.#lease_ms / 3);
    /** @type {FileLike[]} */
    const attached = [];
    try {
      const output = await this.options.handler(
        toolRun({
          args: this.call.arguments,
          signal: this.#controller.signal,
          progress: (progress) => this.#report(progress),
          attach: (...files) => void attached.push(...files),
        }),
      );
      const files = await Promise.all(attached.map(filePart));
      const result = files.length ? { files } : {};
      return output === undefined || output === null ? result : { ...result, output };
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      const code = error instanceof GatewayError ? error.code : 'tool.failed';
      return { error: { code, message } };
    } finally {
      this.#executing = false;
      this.#stopRenewing();
    }
  }

  /** @param {AnyFrame} frame */
  async #deliver(frame) {
    try {
      this.delivered = (await this.#insist(() => frame)) !== null;
    } catch (error) {
      const refused = /** @type {GatewayError} */ (error);
      if (refused.code === 'client.closed') this.kept = frame;
      if (REFUSED.has(refused.code) || frame.error) return;
      // The result itself was unfit (too large, say): the agent should hear why.
      const unfit = { code: 'tool.failed', message: refused.message };
      await this.#deliver({ ...this.#frame('tool.result'), error: unfit });
    }
  }

  /**
   * Send until there is an answer that repeating would not change.
   * @param {() => AnyFrame} frame
   * @returns {Promise<AnyFrame | null>} the `ok`; null if the job was cancelled meanwhile
   */
  async #insist(frame) {
    while (this.live) {
      try {
        return await this.options.command(frame());
      } catch (error) {
        if (!(error instanceof GatewayError) || !error.retryable) throw error;
        await wait(this.options.clock, RETRY_MS, this.#controller.signal);
      }
    }
    return null;
  }

  /** @param {import('./types.js').Progress} progress */
  #report(progress) {
    if (!this.#executing || !this.live) return;
    this.#progress = progress;
    this.#arm(Math.max(0, this.#renewedAt + PROGRESS_MS - this.options.clock.now()));
  }

  /** @param {number} delay_ms */
  #arm(delay_ms) {
    if (this.#renewing) return;
    this.#stopRenewing();
    this.#timer = this.options.clock.setTimeout(() => void this.#renew(), delay_ms);
  }

  #stopRenewing() {
    this.options.clock.clearTimeout(this.#timer);
  }

  async #renew() {
    const progress = this.#progress;
    this.#progress = undefined;
    this.#renewing = true;
    this.#renewedAt = this.options.clock.now();
    try {
      await this.options.command({
        ...this.#frame('tool.renew'),
        ...(progress ? { progress } : {}),
      });
    } catch (error) {
      // A refused renewal means that the lease is gone; `released` or `completed` says what next.
      if (!(error instanceof GatewayError) || !error.retryable) return;
    } finally {
      this.#renewing = false;
      if (this.#executing && this.live)
        this.#arm(this.#progress ? PROGRESS_MS : this.#lease_ms / 3);
    }
  }
}

/**
 * The arguments by their names, as handlers written for other SDKs take them, and beside them,
 * not counted as members, what only we give.
 * @param {ToolContext} context
 * @returns {ToolRun}
 */
function toolRun(context) {
  const { args } = context;
  const named = args && typeof args === 'object' && !Array.isArray(args) ? { ...args } : {};
  for (const [name, value] of Object.entries(context)) {
    Object.defineProperty(named, name, { value, enumerable: false });
  }
  return named;
}
