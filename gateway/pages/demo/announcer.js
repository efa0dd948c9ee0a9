/**
 * Says aloud, once each, what a person who does not see the page must know: an answer that is
 * complete, a question that waits. What was there when the session was opened is not news.
 */

import { newsOf } from '/client/words.js';
import { h, write } from './dom.js';

/** @typedef {import('/client/types.js').SessionState} SessionState */

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
