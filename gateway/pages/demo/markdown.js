/**
 * Light Markdown from an agent, which is not trusted, as DOM nodes.
 *
 * Only elements made here can appear; links go to http, https and mailto; images are links. A
 * text that grows keeps the nodes of the blocks that no longer change. Spans are bounded, so that
 * no text makes the expressions run away.
 */

import { h } from './dom.js';

const SAFE_LINK = /^(https?:|mailto:)/i;
const FENCE = /^\s*(`{3,}|~{3,})\s*([\w+-]*)/;
const HEADING = /^(#{1,6})\s+(.*)$/;
const RULE = /^\s*([-*_])(\s*\1){2,}\s*$/;
const QUOTE = /^\s*>\s?/;
const ITEM = /^(\s*)([-*+]|\d{1,9}[.)])\s+(.*)$/;
const TABLE = /^\|?(\s*:?-+:?\s*\|)+\s*(:?-+:?)?$/;
const MAX_SPANNED_CHARS = 20_000;
const SPAN = new RegExp(
  [
    '(?<fence>`{1,3})(?<code>[^`]{1,1000})\\k<fence>',
    '\\*\\*(?<bold>[^\\n]{1,1000}?)\\*\\*',
    '\\*(?<em>[^\\s*][^*\\n]{0,1000})\\*',
    '(?<![\\w])_(?<under>[^\\s_][^_\\n]{0,1000})_(?!\\w)',
    '!?\\[(?<label>[^\\]\\n]{1,500})\\]\\((?<href>[^)\\s]{1,2000})\\)',
    '(?<bare>https?://[^\\s<>()]{1,2000}[^\\s<>().,;:!?])',
  ].join('|'),
  'g',
);

/**
 * A view of one growing text.
 * @returns {{node: HTMLElement, update: (text: string) => void}}
 */
export function markdown() {
  const node = h('div', { class: 'markdown' });
  /** @type {string[]} */
  let shown = [];
  return {
    node,
    update(text) {
      const blocks = split(text);
      let same = 0;
      while (same < shown.length && shown[same] === blocks[same]) same++;
      while (node.childNodes.length > same) node.lastChild?.remove();
      for (const block of blocks.slice(same)) node.append(render(block));
      shown = blocks;
    },
  };
}

/**
 * Blocks of Markdown: what blank lines part, except within fences.
 * @param {string} text
 * @returns {string[]}
 */
export function split(text) {
  /** @type {string[]} */
  const blocks = [];
  /** @type {string[]} */
  let lines = [];
  let fence = '';
  const finish = () => {
    if (lines.length) blocks.push(lines.join('\n'));
    lines = [];
  };
  for (const line of text.split('\n')) {
    const mark = FENCE.exec(line)?.[1] ?? '';
    if (fence) {
      lines.push(line);
      if (mark.startsWith(fence)) {
        fence = '';
        finish();
      }
    } else if (mark) {
      finish();
      fence = mark;
      lines.push(line);
    } else if (!line.trim()) finish();
    else {
      if (HEADING.test(line) || RULE.test(line)) finish();
      lines.push(line);
      if (HEADING.test(line) || RULE.test(line)) finish();
    }
  }
  finish();
  return blocks;
}

/**
 * @param {string} block
 * @returns {HTMLElement}
 */
function render(block) {
  const lines = block.split('\n');
  const fence = FENCE.exec(lines[0]);
  if (fence) return code(lines, fence[1], fence[2]);
  const heading = HEADING.exec(block);
  // The page has an h1 of its own, and panes are h2.
  if (heading) return /** @type {any} */ (h(level(heading[1].length), {}, ...spans(heading[2])));
  if (RULE.test(block)) return h('hr');
  if (lines.every((line) => QUOTE.test(line))) {
    const inner = split(lines.map((line) => line.replace(QUOTE, '')).join('\n'));
    return h('blockquote', {}, ...inner.map((one) => h('p', {}, ...spans(one))));
  }
  if (ITEM.test(lines[0])) return list(lines);
  if (lines.length > 1 && TABLE.test(lines[1].trim())) return table(lines);
  return h('p', {}, ...spans(block));
}

/**
 * @param {number} hashes
 * @returns {'h3' | 'h4' | 'h5' | 'h6'}
 */
function level(hashes) {
  return /** @type {const} */ (['h3', 'h4', 'h5', 'h6'])[Math.min(hashes, 4) - 1];
}

/**
 * @param {string[]} lines
 * @param {string} mark
 * @param {string} language
 */
function code(lines, mark, language) {
  const closed = lines.length > 1 && lines.at(-1)?.trim().startsWith(mark);
  const body = lines.slice(1, closed ? -1 : undefined).join('\n');
  return h(
    'pre',
    { attrs: { 'data-language': language || null, tabindex: 0 } },
    h('code', {}, body),
  );
}

/** @param {string[]} lines the second one draws the rule */
function table([head, , ...rows]) {
  const row = (/** @type {'th' | 'td'} */ tag, /** @type {string} */ line) =>
    h('tr', {}, ...cells(line).map((cell) => h(tag, {}, ...spans(cell))));
  const body = rows.map((line) => row('td', line));
  const node = h('table', {}, h('thead', {}, row('th', head)), h('tbody', {}, ...body));
  return h('div', { class: 'table', attrs: { tabindex: 0 } }, node);
}

/** @param {string} line */
function cells(line) {
  const inner = line.trim().replace(/^\|/, '').replace(/\|$/, '');
  return inner.split('|').map((cell) => cell.trim());
}

/**
 * A list, with lists in it where items are indented.
 * @param {string[]} lines
 * @returns {HTMLElement}
 */
function list(lines) {
  const [, indent, mark] = /** @type {RegExpExecArray} */ (ITEM.exec(lines[0]));
  const ordered = /\d/.test(mark);
  const start = ordered && mark !== '1.' ? Number.parseInt(mark, 10) : null;
  const node = h(ordered ? 'ol' : 'ul', { attrs: { start } });
  /** @type {{text: string, inner: string[]}[]} */
  const items = [];
  for (const line of lines) {
    const item = ITEM.exec(line);
    const last = items.at(-1);
    if (item && (item[1].length <= indent.length || !last))
      items.push({ text: item[3], inner: [] });
    else if (last && (item || last.inner.length)) last.inner.push(line);
    else if (last) last.text += `\n${line.trim()}`;
  }
  for (const { text, inner } of items) {
    node.append(h('li', {}, ...spans(text), inner.length > 0 && list(inner)));
  }
  return node;
}

/**
 * @param {string} text
 * @returns {(Node | string)[]}
 */
function spans(text) {
  if (text.length > MAX_SPANNED_CHARS) return [text];
  /** @type {(Node | string)[]} */
  const nodes = [];
  let at = 0;
  for (const match of text.matchAll(SPAN)) {
    nodes.push(text.slice(at, match.index), span(match));
    at = match.index + match[0].length;
  }
  nodes.push(text.slice(at));
  return nodes;
}

/**
 * @param {RegExpMatchArray} match
 * @returns {Node | string}
 */
function span(match) {
  const { code: literal, bold, em, under, label, href, bare } = match.groups ?? {};
  if (literal !== undefined) return h('code', {}, literal);
  if (bold !== undefined) return h('strong', {}, ...spans(bold));
  if (em !== undefined || under !== undefined) return h('em', {}, ...spans(em ?? under));
  return link(bare ?? href, bare ?? label) ?? match[0];
}

/**
 * A link that is safe to follow; null for any other address.
 * @param {string} href
 * @param {string} label
 */
export function link(href, label) {
  if (!SAFE_LINK.test(href)) return null;
  const rel = 'noopener noreferrer nofollow';
  return h('a', { attrs: { href, rel, target: '_blank' } }, label);
}
