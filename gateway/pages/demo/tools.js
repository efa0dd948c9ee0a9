/** What agents may do on this page: one tool that reads, one that changes, one that must ask. */

import { GatewayError } from '/client/index.js';

const HIGHLIGHT_MS = 6_000;

/** @typedef {{args: any, signal: AbortSignal}} ToolRun */

/** @type {import('/client/tools.js').ClientTool} */
const readHeading = {
  name: 'read_heading',
  description: 'Reads a heading of the page the person is looking at.',
  parameters: {
    type: 'object',
    properties: {
      level: {
        type: 'integer',
        minimum: 1,
        maximum: 6,
        description: 'default: 1',
      },
    },
    additionalProperties: false,
  },
  idempotent: true,
  handler({ args }) {
    const level = args?.level ?? 1;
    const heading = document.querySelector(`h${Number(level)}`);
    if (!heading)
      throw new GatewayError('tool.failed', `The page has no heading of level ${level}.`);
    return { level, text: heading.textContent?.trim() };
  },
};

/** @type {import('/client/tools.js').ClientTool} */
const highlight = {
  name: 'highlight',
  description: 'Highlights elements of the page for a few seconds.',
  parameters: {
    type: 'object',
    properties: {
      selector: { type: 'string', description: 'CSS selector' },
      color: { type: 'string', description: 'CSS color' },
    },
    required: ['selector'],
    additionalProperties: false,
  },
  idempotent: true,
  handler({ args }) {
    const color = args.color ?? 'gold';
    if (!CSS.supports('color', color)) {
      throw new GatewayError('tool.failed', `${color} is not a CSS color.`);
    }
    const found = /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll(args.selector));
    for (const element of found) glow(element, color);
    return { matched: found.length };
  },
};

/** @type {import('/client/tools.js').ClientTool} */
const renamePage = {
  name: 'rename_page',
  description: 'Gives the page another title.',
  parameters: {
    type: 'object',
    properties: { title: { type: 'string', minLength: 1, maxLength: 80 } },
    required: ['title'],
    additionalProperties: false,
  },
  approval: true,
  handler({ args }) {
    const title = String(args.title).slice(0, 80);
    const heading = document.querySelector('h1');
    document.title = title;
    if (heading) heading.textContent = title;
    return { title };
  },
};

export const pageTools = [readHeading, highlight, renamePage];

/**
 * @param {HTMLElement} element
 * @param {string} color
 */
function glow(element, color) {
  element.style.setProperty('--glow', color);
  element.classList.remove('glowing');
  // Reading a layout property restarts the animation of a class that was just removed.
  void element.offsetWidth;
  element.classList.add('glowing');
  setTimeout(() => element.classList.remove('glowing'), HIGHLIGHT_MS);
}
