/** What a page says of a session in words: what goes on, what a call does, what is news. Pure. */

/** @typedef {import('./types.js').SessionState} SessionState */
/** @typedef {import('./types.js').Call} Call */
/** @typedef {import('./types.js').Part} Part */
/** @typedef {import('./types.js').Progress} Progress */

const COUNTED = 20;
/** Marks of Markdown, which nobody wants to hear. */
const MARKS = /[*`#>|]|^- /gm;
const WRITTEN = new Set(['text', 'commentary', 'thinking']);

const ACTIVITIES = /** @type {Record<string, string>} */ ({
  thinking: 'Thinking',
  calling_tool: 'Using a tool',
  preparing: 'Preparing',
  uploading: 'Uploading',
  waiting_for_worker: 'No worker has this agent yet',
});

/**
 * What the session is doing.
 * @param {SessionState} state
 * @returns {string} empty when nothing is going on
 */
export function activityOf({ run, queue, calls, approvals }) {
  if (run?.status === 'running') {
    const name = run.activity;
    return name === undefined ? 'Working' : (ACTIVITIES[name] ?? spelled(name));
  }
  if (run?.status === 'waiting') {
    if (run.on?.some((id) => approvals[id])) return 'Waiting for your decision';
    const call = run.on?.map((id) => calls[id]).find((one) => one);
    return call ? `Waiting for ${call.name} in the browser` : 'Waiting';
  }
  if (!queue.length) return '';
  return ACTIVITIES[queue[0].activity ?? ''] ?? 'Starting';
}

/**
 * An activity of the agent's own, as a phrase.
 * @param {string} name
 */
function spelled(name) {
  return name.charAt(0).toUpperCase() + name.slice(1).replaceAll('_', ' ');
}

/**
 * What a call is doing.
 * @param {Call} call
 * @param {boolean} asking a person is asked for it
 * @returns {{state: string, label: string}}
 */
export function stateOf(call, asking) {
  if (asking) return { state: 'asking', label: 'needs your approval' };
  if (call.error?.code === 'tool.denied') return { state: 'denied', label: 'denied' };
  if (call.error?.code === 'tool.cancelled') return { state: 'cancelled', label: 'cancelled' };
  if (call.error) return { state: 'failed', label: 'failed' };
  switch (call.status) {
    case 'streaming':
      return { state: 'streaming', label: 'preparing' };
    case 'requested':
      if (call.target === 'server') return { state: 'running', label: 'running' };
      return { state: 'requested', label: 'offered to this page' };
    case 'claimed':
      return { state: 'running', label: 'running in this browser' };
    default:
      return { state: 'done', label: 'done' };
  }
}

/**
 * Few things are counted, many are a share.
 * @param {Progress} progress
 */
export function progressText({ current, total, text = '' }) {
  if (current === undefined || !total) return text;
  if (total <= COUNTED) return `${current} of ${total} ${text}`.trim();
  return [text, `${Math.round((100 * current) / total)} %`].filter(Boolean).join(' · ');
}

/**
 * What a person who does not see the page must hear, once each: a question that waits, an answer
 * that is complete; null for nothing.
 * @param {SessionState} state
 * @returns {{key: string, text: string} | null}
 */
export function newsOf({ approvals, messages }) {
  const open = Object.values(approvals).find((approval) => !approval.decision);
  if (open) return { key: open.id, text: `The agent asks for approval: ${open.title}` };
  const last = messages.at(-1);
  if (last?.role !== 'assistant' || last.status === 'open') return null;
  const texts = last.parts.map((part) => (part.kind === 'text' ? part.text : ''));
  return { key: last.id, text: texts.join(' ').replace(MARKS, '').trim() };
}

/**
 * Whether there is anything to draw: not of a hidden part, nor of one without a word.
 * @param {Part} part
 */
export function isVisible(part) {
  if (part.kind === 'hidden') return false;
  return !WRITTEN.has(part.kind) || /** @type {{text: string}} */ (part).text.trim() !== '';
}

/**
 * Any JSON as people read it.
 * @param {unknown} value
 */
export function pretty(value) {
  return typeof value === 'string' ? value : (JSON.stringify(value, null, 2) ?? 'null');
}
