/**
 * The tools of this tab: which open calls it may take, and the jobs that execute them (docs/protocol.md).
 *
 * Learns of calls from events, and from whole states after a reload or a lost log. At most one
 * job per call. Nothing here speaks to a socket: commands go through the port it is given.
 */

import { Job } from './job.js';

const OTHERS_WAIT_MS = 1_000;

/** The name of a tool that stands for all: the tab answers by hand whatever is called. */
export const ANY = '*';

/** @typedef {import('./types.js').Call} Call */
/** @typedef {import('./types.js').SessionState} SessionState */

/**
 * @typedef {import('./types.js').Tool & {handler?: import('./job.js').ToolHandler}} ClientTool
 *   without a handler its calls are answered by `submitToolResult`
 */

/**
 * The tool as the wire has it: without its handler.
 * @param {ClientTool} tool
 * @returns {import('./types.js').Tool}
 */
export function wireTool({ handler: _, ...tool }) {
  return tool;
}

/**
 * After how many milliseconds this tab may claim a call; null: not its turn.
 * @param {Call} call
 * @param {string} client this tab
 * @param {ClientTool} tool
 */
export function claimDelay(call, client, tool) {
  if (call.target !== 'client') return null;
  if (call.status === 'claimed') return call.client === client ? 0 : null;
  if (call.status !== 'requested') return null;
  if (call.client === undefined || call.client === client) return 0;
  // A lease that ran out: an idempotent tool is offered to all again, its last holder goes first.
  return tool.idempotent && call.lease_until !== undefined ? OTHERS_WAIT_MS : null;
}

export class ToolRunner {
  /** @type {Map<string, Map<string, ClientTool>>} session id -> tools by name */
  #tools = new Map();
  /** @type {Map<string, Map<string, Job>>} session id -> jobs by call id */
  #jobs = new Map();
  /** @type {Set<string>} open calls whose handler was called here */
  #begun = new Set();

  /**
   * @param {object} options
   * @param {string} options.client
   * @param {(frame: import('./types.js').AnyFrame) => Promise<import('./types.js').AnyFrame>} options.command
   * @param {import('./ids.js').MakeId} options.makeId
   * @param {import('./types.js').Clock} options.clock
   */
  constructor({ client, command, makeId, clock }) {
    this.client = client;
    this.command = command;
    this.makeId = makeId;
    this.clock = clock;
  }

  /**
   * The tools that this tab executes for a session.
   * @param {string} session
   * @param {readonly ClientTool[]} tools
   */
  declare(session, tools) {
    this.#tools.set(session, new Map(tools.map((tool) => [tool.name, tool])));
  }

  /**
   * Cancel the session's jobs: nobody here listens to it any more.
   * @param {string} session
   */
  forget(session) {
    for (const job of this.#jobsOf(session).values()) job.cancel();
    this.#tools.delete(session);
    this.#jobs.delete(session);
  }

  /**
   * Open calls that this tab may answer, by hand: nothing here executes them.
   * @param {SessionState} state
   */
  unhandled(state) {
    const tools = this.#tools.get(state.session);
    return Object.values(state.calls).filter((call) => {
      const tool = tools?.get(call.name) ?? tools?.get(ANY);
      return tool && !tool.handler && claimDelay(call, this.client, tool) !== null;
    });
  }

  /**
   * A whole new state: drop the jobs of calls that are closed, take up those that are open.
   * @param {SessionState} state
   */
  observe(state) {
    for (const [id, job] of this.#jobsOf(state.session)) {
      const call = state.calls[id];
      if (!call || call.status === 'completed' || this.#isOthers(call)) job.cancel();
      else if (call.status === 'requested') void job.reclaim();
    }
    for (const call of Object.values(state.calls)) {
      if (call.status === 'completed') this.#begun.delete(call.id);
      this.#consider(state.session, call);
    }
  }

  /**
   * An event, and the state after it.
   * @param {import('./types.js').SessionEvent} event
   * @param {SessionState} state
   */
  heed(event, state) {
    const call = state.calls[event.call];
    if (!call) return;
    const jobs = this.#jobsOf(event.session);
    const job = jobs.get(call.id);
    if (event.type === 'tool_call.requested' || event.type === 'tool_call.released') {
      if (job?.live && !job.kept) void job.reclaim();
      else this.#consider(event.session, call);
    } else if (event.type === 'tool_call.completed') {
      job?.cancel();
      jobs.delete(call.id);
      this.#begun.delete(call.id);
    } else if (this.#isOthers(call)) {
      job?.cancel();
    }
  }

  /** @param {Call} call */
  #isOthers(call) {
    return call.status === 'claimed' && call.client !== this.client;
  }

  /** @param {string} session */
  #jobsOf(session) {
    const jobs = this.#jobs.get(session) ?? new Map();
    this.#jobs.set(session, jobs);
    return jobs;
  }

  /**
   * @param {string} session
   * @param {Call} call
   */
  #consider(session, call) {
    const jobs = this.#jobsOf(session);
    const tool = this.#tools.get(session)?.get(call.name);
    const delay_ms = tool ? claimDelay(call, this.client, tool) : null;
    const old = jobs.get(call.id);
    if (old?.kept && delay_ms !== null) return void old.redeliver();
    if (!tool?.handler || delay_ms === null || old?.live || old?.delivered) return;
    // What may have taken effect is not done again, whatever became of its result.
    if (!tool.idempotent && this.#begun.has(call.id)) return;
    const { command, makeId, clock } = this;
    const { handler } = tool;
    const began = () => void this.#begun.add(call.id);
    const job = new Job({ session, call, handler, delay_ms, began, command, makeId, clock });
    jobs.set(call.id, job);
    void job.run().then(() => {
      // A delivered one stays until `completed`: a state may still show the call as open.
      if (jobs.get(call.id) === job && !job.delivered && !job.kept) jobs.delete(call.id);
    });
  }
}
