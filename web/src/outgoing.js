/**
 * One's own messages that the session does not show yet, and how they are drawn meanwhile. Pure.
 *
 * A message has its id from the moment it is sent, so it is known again when the state has it.
 */

import { reached } from './outcomes.js';

/** @typedef {import('./types.js').Message} Message */
/** @typedef {import('./types.js').SessionState} SessionState */

/**
 * @typedef {Omit<Message, 'status'> & {status: Message['status'] | 'queued' | 'sending' | 'refused',
 *   error?: import('./errors.js').GatewayError}} ShownMessage `queued`: its run waits for another;
 *   `sending`: not answered yet; `refused`: the gateway did not take it, `error` says why
 */

/**
 * @typedef {object} Outgoing
 * @property {ShownMessage} message
 * @property {string} [after] later messages will be gone
 * @property {import('./commands.js').MessageFields} fields it is sent with
 * @property {import('./outcomes.js').Stored} [stored] the gateway has it
 */

/**
 * Those that the state does not show; one that it has had is no more under way.
 * @param {readonly Outgoing[]} outgoing
 * @param {SessionState | null} state
 */
export function unseen(outgoing, state) {
  if (!state || !outgoing.length) return outgoing;
  const shown = new Set(state.messages.map(({ id }) => id));
  for (const { trigger } of state.queue) if (trigger) shown.add(trigger);
  const rest = outgoing.filter(
    ({ message, stored }) => !shown.has(message.id) && !(stored && reached(stored, state)),
  );
  return rest.length < outgoing.length ? rest : outgoing;
}

/**
 * All messages a page shows: older ones it loaded, the state's, those that wait, one's own.
 * @param {readonly Message[]} older
 * @param {SessionState | null} state
 * @param {readonly Outgoing[]} outgoing
 * @returns {readonly ShownMessage[]}
 */
export function shown(older, state, outgoing) {
  /** @type {readonly ShownMessage[]} */
  let messages = [...older, ...(state?.messages ?? [])];
  const own = unseen(outgoing, state);
  for (const { after, message } of own) {
    const last = messages.findIndex(({ id }) => id === after);
    if (last >= 0 && message.status === 'sending') messages = messages.slice(0, last + 1);
  }
  const waiting = (state?.queue ?? []).flatMap((run) => (run.content ? [queued(run)] : []));
  const added = [...waiting, ...own.map(({ message }) => message)];
  return added.length ? [...messages, ...added] : messages;
}

/**
 * @param {import('./types.js').Run} run
 * @returns {ShownMessage}
 */
function queued({ id, trigger, content = [], by, metadata }) {
  return {
    id: trigger ?? id,
    role: 'user',
    status: 'queued',
    time: '',
    parts: content,
    run: id,
    ...(by ? { by } : {}),
    ...(metadata ? { metadata } : {}),
  };
}
