/** A run on its own as React state: status, progress, logs and output as they come. */

import { useCallback, useEffect, useRef, useState } from 'react';
import { useClient } from './provider.js';

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
    try {
      const { client: of, timeout_ms } = latest.current;
      const limits = { signal: mine.signal, timeout_ms };
      const stream = await of().run(task, { ...limits, stream: true });
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
