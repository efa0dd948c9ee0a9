/** Small pieces that several parts of the chat are made of. */

import { createElement as h, memo, useState } from 'react';
import { PATHS } from '../icons.js';
import { growingSplit, rendered } from '../markdown.js';
import { progressText } from '../words.js';

/** @typedef {import('../types.js').Progress} Progress */

/** @param {{name: import('../icons.js').IconName}} props */
export function Icon({ name }) {
  const props = {
    className: `agw-icon agw-icon-${name}`,
    viewBox: '0 0 24 24',
    'aria-hidden': true,
  };
  return h('svg', props, h('path', { d: PATHS[name] }));
}

/**
 * A button that is an icon.
 * @param {{name: import('../icons.js').IconName, label: string, look?: string, [other: string]: any}} props
 */
export function IconButton({ name, label, look = '', ...rest }) {
  const className = `agw-icon-button ${look}`;
  const props = { type: /** @type {const} */ ('button'), 'aria-label': label, title: label };
  return h('button', { ...props, className, ...rest }, h(Icon, { name }));
}

/**
 * Markdown that may grow: only the block that changed is made anew.
 * @param {{text: string}} props
 */
export const Markdown = memo(function Markdown(/** @type {{text: string}} */ { text }) {
  const [split] = useState(growingSplit);
  const blocks = split(text).map((block, index) => h(Block, { key: index, block }));
  return h('div', { className: 'agw-markdown' }, blocks);
});

const Block = memo(function Block(/** @type {{block: string}} */ { block }) {
  return rendered(block, h);
});

/** @param {{progress: Progress}} props */
export function ProgressBar({ progress }) {
  const { current, total } = progress;
  const known = current !== undefined && total !== undefined;
  return h(
    'div',
    { className: 'agw-progress' },
    h('progress', { 'aria-label': 'Progress', ...(known ? { value: current, max: total } : {}) }),
    h('span', null, progressText(progress)),
  );
}

/**
 * Something folded away under its title.
 * @param {{className: string, title: import('react').ReactNode, children?: import('react').ReactNode,
 *   [other: string]: any}} props
 */
export function Folded({ className, title, children, ...rest }) {
  const [open, setOpen] = useState(false);
  const onToggle = (/** @type {any} */ event) => setOpen(event.currentTarget.open);
  // What nobody looks at is not made.
  return h(
    'details',
    { className, onToggle, ...rest },
    h('summary', null, title, h(Icon, { name: 'chevron' })),
    open && children,
  );
}

/**
 * What had the focus is about to go: give it to the field, where no keyboard pops up for that.
 * @param {Element} node within the chat
 */
export function yieldFocus(node) {
  const field = matchMedia('(pointer: fine)').matches;
  const target = node.closest('.agw')?.querySelector(field ? '.agw-field textarea' : '.agw-log');
  /** @type {HTMLElement | null | undefined} */ (target)?.focus({ preventScroll: true });
}
