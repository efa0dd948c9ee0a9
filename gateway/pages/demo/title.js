/** A pane's title, which can be edited in place: Enter keeps, Escape drops. */

import { h, write } from './dom.js';

const MAX_CHARS = 80;

/**
 * @param {string} id of the heading
 * @param {(title: string) => void} onRename
 */
export function editableTitle(id, onRename) {
  const node = h('h2', {
    class: 'pane-title',
    test: 'pane-title',
    attrs: { id },
  });
  let shown = '';

  /** @param {boolean} keep */
  function finish(keep) {
    if (!node.isContentEditable) return;
    node.contentEditable = 'false';
    const title = (node.textContent ?? '').trim().slice(0, MAX_CHARS);
    const renamed = keep && title !== '' && title !== shown;
    if (renamed) onRename(title);
    write(node, renamed ? title : shown);
  }
  node.addEventListener('blur', () => finish(true));
  node.addEventListener('keydown', (event) => {
    if (!node.isContentEditable || (event.key !== 'Enter' && event.key !== 'Escape')) return;
    event.preventDefault();
    event.stopPropagation();
    finish(event.key === 'Enter');
  });
  return {
    node,
    edit() {
      node.contentEditable = 'plaintext-only';
      node.focus();
      getSelection()?.selectAllChildren(node);
    },
    /** @param {string} title */
    update(title) {
      shown = title;
      if (!node.isContentEditable) write(node, title);
    },
  };
}
