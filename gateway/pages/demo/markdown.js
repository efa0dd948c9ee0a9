/** A view of one growing Markdown text: the blocks that no longer change keep their nodes. */

import { growingSplit, link as safeLink, rendered } from '/client/markdown.js';
import { h } from './dom.js';

/** @type {import('/client/markdown.js').Make<HTMLElement>} */
const make = (tag, props, ...children) => {
  const { className, ...attrs } = props ?? {};
  return h(/** @type {any} */ (tag), { class: className, attrs }, ...children);
};

/** @returns {{node: HTMLElement, update: (text: string) => void}} */
export function markdown() {
  const node = h('div', { class: 'markdown' });
  const split = growingSplit();
  /** @type {string[]} */
  let shown = [];
  return {
    node,
    update(text) {
      const blocks = split(text);
      let same = 0;
      while (same < shown.length && shown[same] === blocks[same]) same++;
      while (node.childNodes.length > same) node.lastChild?.remove();
      for (const block of blocks.slice(same)) node.append(rendered(block, make));
      shown = blocks;
    },
  };
}

/**
 * A link that is safe to follow; null for any other address.
 * @param {string} href
 * @param {string} label
 */
export function link(href, label) {
  return safeLink(href, label, make);
}
