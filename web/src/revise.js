/**
 * A changed copy of a state, one place at a time; what an event means is `state`'s business.
 *
 * Everything untouched keeps its identity. What names something the state lacks returns the
 * state itself.
 */

/** @typedef {import('./types.js').SessionState} SessionState */
/** @typedef {import('./types.js').Message} Message */
/** @typedef {import('./types.js').Part} Part */
/** @typedef {import('./types.js').Run} Run */
/** @typedef {import('./types.js').Call} Call */

/** @type {Part} */
const HIDDEN = { kind: 'hidden' };

/**
 * The fields of `source` that have a value; null means none.
 * @param {Record<string, any>} source
 * @param {string[]} names
 */
export function pick(source, ...names) {
  /** @type {Record<string, any>} */
  const picked = {};
  for (const name of names)
    if (source[name] !== undefined && source[name] !== null) picked[name] = source[name];
  return picked;
}

/**
 * @template {Record<string, any>} T
 * @param {T} source
 * @param {string[]} names
 * @returns {T}
 */
export function without(source, ...names) {
  const rest = { ...source };
  for (const name of names) delete rest[name];
  return rest;
}

/**
 * @param {SessionState} state
 * @param {string} id
 * @param {(message: Message) => Message} change
 * @returns {SessionState}
 */
export function withMessage(state, id, change) {
  // Backwards: the message that events speak of is nearly always the last.
  for (let index = state.messages.length - 1; index >= 0; index--) {
    if (state.messages[index].id !== id) continue;
    const messages = state.messages.slice();
    messages[index] = change(messages[index]);
    return { ...state, messages };
  }
  return state;
}

/**
 * @param {SessionState} state
 * @param {string} id
 * @param {(call: Call) => Call} change
 * @returns {SessionState}
 */
export function withCall(state, id, change) {
  if (!Object.hasOwn(state.calls, id)) return state;
  return { ...state, calls: { ...state.calls, [id]: change(state.calls[id]) } };
}

/**
 * The run of that id, live or queued, changed.
 * @param {SessionState} state
 * @param {string} id
 * @param {(run: Run) => Run} change
 * @returns {SessionState}
 */
export function withRun(state, id, change) {
  if (state.run?.id === id) return { ...state, run: change(state.run) };
  if (!state.queue.some((run) => run.id === id)) return state;
  return { ...state, queue: state.queue.map((run) => (run.id === id ? change(run) : run)) };
}

/**
 * @param {SessionState} state
 * @param {string} id
 * @param {(run: Run) => Run} change
 * @returns {SessionState}
 */
export function withLiveRun(state, id, change) {
  const { run } = state;
  if (run?.id !== id || !isLive(run)) return state;
  return { ...state, run: change(run) };
}

/** The greatest index of a part; a gateway that names a greater one is not one of ours. */
const MAX_PART = 65_535;

/**
 * The parts with a change at `index`; parts this detail may not see keep their place. An index
 * that no part can have changes nothing: the page must not end by what it is sent.
 * @param {readonly Part[]} parts
 * @param {number} index
 * @param {(part: Part | undefined) => Part} change
 * @returns {Part[]}
 */
export function placed(parts, index, change) {
  const next = parts.slice();
  if (!Number.isInteger(index) || index < 0 || index > MAX_PART) return next;
  while (next.length < index) next.push(HIDDEN);
  next[index] = change(parts[index]);
  return trimmed(next);
}

/**
 * Without the hidden parts at the end, in place.
 * @param {Part[]} parts
 */
export function trimmed(parts) {
  while (parts.at(-1)?.kind === 'hidden') parts.pop();
  return parts;
}

/**
 * The entries of a record whose values pass.
 * @template T
 * @param {Readonly<Record<string, T>>} record
 * @param {(value: T) => boolean} keep
 * @returns {Record<string, T>}
 */
export function filtered(record, keep) {
  return Object.fromEntries(Object.entries(record).filter(([, value]) => keep(value)));
}

/**
 * Only those messages, with their calls; approvals of ended runs that have none left leave too.
 *
 * Approvals go by run, not by call: where little may be seen their calls are hidden.
 * @param {SessionState} state
 * @param {(message: Message, index: number) => boolean} keep
 * @returns {SessionState}
 */
export function keepMessages(state, keep) {
  const messages = state.messages.filter(keep);
  if (messages.length === state.messages.length) return state;
  const kept = new Set(messages);
  const gone = state.messages.filter((message) => !kept.has(message));
  const ids = new Set(gone.map(({ id }) => id));
  const runs = new Set(gone.map(({ run }) => run));
  for (const { run } of messages) runs.delete(run);
  if (state.run && isLive(state.run)) runs.delete(state.run.id);
  return {
    ...state,
    messages,
    calls: filtered(state.calls, (call) => !ids.has(call.message)),
    approvals: filtered(state.approvals, (approval) => !runs.has(approval.run)),
  };
}

/** @param {Run} run */
function isLive(run) {
  return run.status === 'running' || run.status === 'waiting';
}

/**
 * Another status of the live run; it clears the activity and ends a wait.
 * @param {Run} run
 * @param {Run['status']} status
 * @param {Record<string, any>} [fields]
 * @returns {Run}
 */
export function moved(run, status, fields = {}) {
  return { ...without(run, 'activity', 'on'), status, ...fields };
}

/**
 * A wait ends without an event of its own when the run shows a sign of life (docs/protocol.md).
 * @param {SessionState} state
 * @param {string} [run]
 * @returns {SessionState}
 */
export function resumed(state, run) {
  if (state.run?.status !== 'waiting' || state.run.id !== run) return state;
  return { ...state, run: moved(state.run, 'running') };
}

/**
 * What the run waited for is closed; with the last one it runs again.
 * @param {SessionState} state
 * @param {string} id of a call or an approval
 * @returns {SessionState}
 */
export function settled(state, id) {
  const { run } = state;
  if (run?.status !== 'waiting' || !run.on?.includes(id)) return state;
  const on = run.on.filter((open) => open !== id);
  return { ...state, run: on.length ? { ...run, on } : moved(run, 'running') };
}
