/** What the run is doing now, how far it is, and what waits behind it. */

import { activityOf } from '/client/words.js';
import { attrs, h, write } from './dom.js';
import { icon } from './icons.js';
import { keyed } from './keyed.js';
import { progressBar } from './tool_card.js';

/** @typedef {import('/client/types.js').SessionState} SessionState */
/** @typedef {import('/client/types.js').Run} Run */

/**
 * @param {(run: string) => void} cancel
 * @returns {{node: HTMLElement, update: (state: SessionState) => void}}
 */
export function activity(cancel) {
  const text = h('span', { class: 'activity-text' });
  const line = h('div', { class: 'activity-line idle', test: 'activity' }, dots(), text);
  const bar = progressBar();
  const queue = h('ul', {
    class: 'queue',
    test: 'queue',
    attrs: { 'aria-label': 'Queued messages' },
  });
  const showQueue = keyed(
    queue,
    ({ id }) => id,
    (/** @type {Run} */ run) => queuedView(run, cancel),
  );
  const node = h('div', { class: 'activity' }, line, bar.node, queue);
  return {
    node,
    update(state) {
      const doing = activityOf(state);
      line.classList.toggle('idle', !doing);
      attrs(line, { 'aria-hidden': doing ? null : 'true' });
      write(text, doing);
      const live = state.run?.status === 'running' || state.run?.status === 'waiting';
      bar.update(live ? state.run?.progress : undefined);
      // A run that waits for nothing but its worker is not worth a line of its own.
      const waiting = live ? state.queue : state.queue.slice(1);
      showQueue(waiting);
      queue.hidden = waiting.length === 0;
    },
  };
}

function dots() {
  return h('span', { class: 'dots', attrs: { 'aria-hidden': 'true' } }, h('i'), h('i'), h('i'));
}

/**
 * @param {Run} run
 * @param {(run: string) => void} cancel
 * @returns {import('./keyed.js').View<Run>}
 */
function queuedView(run, cancel) {
  const text = h('span', { class: 'queued-text' });
  const button = h(
    'button',
    {
      class: 'icon-button small',
      attrs: { type: 'button', 'aria-label': 'Remove from the queue' },
      on: { click: () => cancel(run.id) },
    },
    icon('close'),
  );
  return {
    node: h('li', { test: 'queued' }, h('span', { class: 'label' }, 'Next'), text, button),
    update({ content = [] }) {
      write(text, content.map((part) => ('text' in part ? part.text : '')).join(' '));
    },
  };
}
