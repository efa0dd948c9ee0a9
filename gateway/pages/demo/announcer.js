/**
 * Says aloud, once each, what a person who does not see the page must know: an answer that is
 * complete, a question that waits. What was there when the session was opened is not news.
 */

import { h, write } from './dom.js';

/** Marks of Markdown, which nobody wants to hear. */
const MARKS = /[*`#>|]|^- /gm;

/** @typedef {import('/client/types.js').SessionState} SessionState */

/**
 * What there is to say; null for nothing.
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

/** @returns {{node: HTMLElement, update: (state: SessionState) => void}} */
export function announcer() {
  const node = h('p', { class: 'unseen', attrs: { 'aria-live': 'polite' } });
  /** @type {string | null | undefined} */
  let said;
  return {
    node,
    update(state) {
      const news = newsOf(state);
      const first = said === undefined;
      if (news?.key === said) return;
      said = news?.key ?? said ?? null;
      if (news && !first) write(node, news.text);
    },
  };
}
