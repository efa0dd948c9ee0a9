/** One tool call: its name, how far it is, and folded away what went in and what came out. */

import { pretty, progressText, stateOf } from '/client/words.js';
import { attrs, fill, h, write } from './dom.js';
import { icon } from './icons.js';

/** @typedef {import('/client/types.js').Call} Call */
/** @typedef {import('/client/types.js').Progress} Progress */

/** @returns {{node: HTMLElement, update: (call: Call, progress: Progress | undefined, asking: boolean) => void}} */
export function toolCard() {
  const name = h('span', { class: 'tool-name' });
  const place = h('span', { class: 'tool-place' });
  const state = h('span', { class: 'tool-state', test: 'tool-state' });
  const head = h(
    'summary',
    {},
    icon('tool'),
    name,
    place,
    h('span', { class: 'tool-dot' }),
    state,
    icon('chevron'),
  );
  const bar = progressBar();
  const body = h('div', { class: 'tool-body' });
  const node = h('details', { class: 'card tool', test: 'tool' }, head, body);
  const wrapper = h('div', { class: 'tool-wrap' }, node, bar.node);
  /** @type {Call | null} */
  let shown = null;
  let asked = false;
  return {
    node: wrapper,
    update(call, progress, asking) {
      const running = call.status !== 'completed';
      bar.update(running ? progress : undefined);
      if (call === shown && asking === asked) return;
      shown = call;
      asked = asking;
      const { state: key, label } = stateOf(call, asking);
      attrs(node, { 'data-name': call.name, 'data-status': key });
      write(name, call.name);
      write(place, call.target === 'client' ? 'browser' : 'server');
      write(state, label);
      fill(body, ...sections(call));
    },
  };
}

/**
 * @param {Call} call
 * @returns {Node[]}
 */
function sections(call) {
  const parts = [section('Arguments', pretty(call.arguments || {}))];
  if (call.error) parts.push(section('Error', `${call.error.message}\n(${call.error.code})`));
  else if (call.status === 'completed') parts.push(section('Output', pretty(call.output ?? null)));
  return parts;
}

/**
 * @param {string} title
 * @param {string} text
 */
function section(title, text) {
  const body = h('pre', { attrs: { tabindex: 0 } }, text);
  return h('div', { class: 'tool-section' }, h('span', { class: 'label' }, title), body);
}

/** A progress bar with its text; gone while there is nothing to say. */
export function progressBar() {
  const text = h('span', { class: 'progress-text' });
  const bar = h('progress', { attrs: { 'aria-label': 'Progress' } });
  const node = h('div', { class: 'progress', test: 'progress' }, bar, text);
  node.hidden = true;
  return {
    node,
    /** @param {Progress | undefined} progress */
    update(progress) {
      node.hidden = !progress;
      if (!progress) return;
      const { current, total } = progress;
      const known = current !== undefined && total !== undefined;
      attrs(bar, { value: known ? current : null, max: known ? total : null });
      write(text, progressText(progress));
    },
  };
}
