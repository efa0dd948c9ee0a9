/** A run on its own as React state: status, progress, logs and output as they come. */

import { useCallback, useEffect, useRef, useState } from 'react';
import { streamed } from '../run.js';
import { keepClient, useClient } from './provider.js';

/** @typedef {import('../run.js').Task} Task */
/** @typedef {import('../run.js').Update} Update */

/**
 * @typedef {object} RunState
 * @property {'idle' | 'starting' | import('../run.js').TaskStatus | 'error'} status
 * @property {unknown} output
 * @property {unknown} partial_output
 * @property {string} text what the agent has said so far
 * @property {string[]} logs
 * @property {Update['progress'] | null} progress
 * @property {string | null} error
 */

/**
 * @typedef {object} RunWishes
 * @property {import('../client.js').GatewayClient} [client]
 * @property {string} [url]
 * @property {import('../client.js').Token} [token]
 * @property {number} [timeout_ms]
 */

/** @type {RunState} */
const IDLE = {
  status: 'idle',
  output: null,
  partial_output: null,
  text: '',
  logs: [],
  progress: null,
  error: null,
};

/**
 * Start runs by hand: `run(task)`, and `cancel()`. A new one ends the watching of the last.
 * @param {RunWishes} [wishes] default: the client of the provider around, or of the page's origin
 */
export function useStream(wishes = {}) {
  const [state, setState] = useState(IDLE);
  const client = useClient(wishes.client, wishes.url, wishes.token);
  const latest = useRef({ client, timeout_ms: wishes.timeout_ms });
  latest.current = { client, timeout_ms: wishes.timeout_ms };
  /** @type {import('react').RefObject<AbortController | null>} */
  const controller = useRef(null);

  const cancel = useCallback(() => controller.current?.abort(), []);

  const run = useCallback(async (/** @type {Task} */ task) => {
    const mine = new AbortController();
    controller.current?.abort();
    controller.current = mine;
    /** @param {(state: RunState) => RunState} change */
    const set = (change) => {
      if (controller.current === mine) setState(change);
    };
    setState({ ...IDLE, status: 'starting' });
    const { signal } = mine;
    try {
      // What React takes down at once and puts up again starts one run.
      await null;
      signal.throwIfAborted();
      const { client, timeout_ms } = latest.current;
      const stream = await begun(client(), task, { signal, timeout_ms });
      for await (const update of stream) set((before) => updated(before, update));
    } catch (error) {
      const { name, message } = /** @type {Error} */ (error);
      if (name === 'AbortError') set((before) => ({ ...before, status: 'cancelled' }));
      else set((before) => ({ ...before, status: 'error', error: message }));
    }
  }, []);

  useEffect(() => cancel, [cancel]);
  return { ...state, run, cancel };
}

/**
 * A run from the moment it is drawn; another task starts another one, null none.
 * @param {Task | null} task
 * @param {RunWishes} [wishes]
 */
export function useRun(task, wishes) {
  const stream = useStream(wishes);
  const { run, cancel } = stream;
  const key = JSON.stringify(task);
  useEffect(() => {
    const wanted = JSON.parse(key);
    if (!wanted) return undefined;
    void run(wanted);
    return cancel;
  }, [key, run, cancel]);
  return stream;
}

/**
 * A run that keeps its client until it has ended, or the gateway has heard that it shall.
 * @param {import('../client.js').GatewayClient} client
 * @param {Task} task
 * @param {import('../abort.js').Limits} limits
 */
async function begun(client, { app, agent = app, input, metadata }, limits) {
  const session = client.session(undefined, { agent, metadata });
  const release = keepClient(client);
  const leave = session.watch(() => {
    if (session.status !== 'closed') return;
    leave();
    release();
  });
  try {
    return await streamed(session, input, limits, client.clock);
  } catch (error) {
    if (session.status === 'idle') session.close();
    throw error;
  }
}

/**
 * @param {RunState} before
 * @param {Update} update
 * @returns {RunState}
 */
function updated(before, { status, logs, error, ...news }) {
  return {
    ...before,
    ...news,
    status,
    logs: logs ? [...before.logs, ...logs] : before.logs,
    error: error ? error.message : before.error,
  };
}
