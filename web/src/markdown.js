/**
 * Light Markdown from an agent, which is not trusted, as elements of whatever makes them.
 *
 * Only elements named here can appear; links go to http, https and mailto; images are links, so a
 * text loads nothing. Spans are bounded, so that no text makes the expressions run away. Pure:
 * `make` has the shape of React's `createElement`, a page without React brings its own.
 */

const SAFE_LINK = /^(https?:\/\/|mailto:)/i;
const FENCE = /^\s*(`{3,}|~{3,})\s*([\w+-]*)/;
const HEADING = /^(#{1,6})\s+(.*)$/;
const RULE = /^\s*([-*_])(\s*\1){2,}\s*$/;
const QUOTE = /^\s*>\s?/;
const ITEM = /^(\s*)([-*+]|\d{1,9}[.)])\s+(.*)$/;
const TABLE = /^\|?(\s*:?-+:?\s*\|)+\s*(:?-+:?)?$/;
const MAX_SPANNED_CHARS = 20_000;
const MAX_NESTED_LISTS = 8; // what is indented deeper stands at the last level
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
 * @template E
 * @typedef {(tag: string, props: Record<string, any> | null, ...children: (E | string)[]) => E} Make
 *   properties are spelled as React spells them
 */

/**
 * Blocks of Markdown: what blank lines part, except within fences.
 * @param {string} text
 * @returns {string[]}
 */
export function split(text) {
  return scan(text).map(({ block }) => block);
}

/**
 * A `split` for one text that grows: it looks only at the block that is still changing.
 * @returns {(text: string) => string[]}
 */
export function growingSplit() {
  let settled = '';
  /** @type {string[]} blocks that lie within `settled` */
  let before = [];
  return (text) => {
    if (!text.startsWith(settled)) {
      settled = '';
      before = [];
    }
    const rest = text.slice(settled.length);
    const found = scan(rest);
    const blocks = [...before, ...found.map(({ block }) => block)];
    // Where a block begins is certain once its first line is whole: `---` may become `--- or not`.
    const firm = found.findLastIndex(({ at }) => rest.indexOf('\n', at) >= 0);
    if (firm > 0) {
      settled = text.slice(0, settled.length + found[firm].at);
      before = blocks.slice(0, before.length + firm);
    }
    return blocks;
  };
}

/**
 * @param {string} text
 * @returns {{block: string, at: number}[]}
 */
function scan(text) {
  /** @type {{block: string, at: number}[]} */
  const blocks = [];
  /** @type {string[]} */
  let lines = [];
  let fence = '';
  let begin = 0;
  let at = 0;
  const finish = () => {
    if (lines.length) blocks.push({ block: lines.join('\n'), at: begin });
    lines = [];
  };
  /** @param {string} line */
  const add = (line) => {
    if (!lines.length) begin = at;
    lines.push(line);
  };
  for (const line of text.split('\n')) {
    const mark = FENCE.exec(line)?.[1] ?? '';
    if (fence) {
      add(line);
      if (mark.startsWith(fence)) {
        fence = '';
        finish();
      }
    } else if (mark) {
      finish();
      fence = mark;
      add(line);
    } else if (!line.trim()) finish();
    else {
      const alone = HEADING.test(line) || RULE.test(line);
      if (alone) finish();
      add(line);
      if (alone) finish();
    }
    at += line.length + 1;
  }
  finish();
  return blocks;
}

/**
 * @template E
 * @param {string} block
 * @param {Make<E>} make
 * @returns {E}
 */
export function rendered(block, make) {
  const lines = block.split('\n');
  const fence = FENCE.exec(lines[0]);
  if (fence) return code(lines, fence[1], fence[2], make);
  const heading = HEADING.exec(block);
  // The page has an h1 and an h2 of its own.
  if (heading) {
    const level = Math.min(heading[1].length + 2, 6);
    return make(`h${level}`, null, ...spans(heading[2], make));
  }
  if (RULE.test(block)) return make('hr', null);
  if (lines.every((line) => QUOTE.test(line))) {
    const inner = split(lines.map((line) => line.replace(QUOTE, '')).join('\n'));
    return make('blockquote', null, ...inner.map((one) => make('p', null, ...spans(one, make))));
  }
  if (ITEM.test(lines[0])) return list(lines, make);
  if (lines.length > 1 && TABLE.test(lines[1].trim())) return table(lines, make);
  return make('p', null, ...spans(block, make));
}

/**
 * @template E
 * @param {string[]} lines
 * @param {string} mark
 * @param {string} language
 * @param {Make<E>} make
 */
function code(lines, mark, language, make) {
  const closed = lines.length > 1 && lines.at(-1)?.trim().startsWith(mark);
  const body = lines.slice(1, closed ? -1 : undefined).join('\n');
  const props = { 'data-language': language || null, tabIndex: 0 };
  return make('pre', props, make('code', null, body));
}

/**
 * @template E
 * @param {string[]} lines the second one draws the rule
 * @param {Make<E>} make
 */
function table([head, , ...rows], make) {
  const row = (/** @type {'th' | 'td'} */ tag, /** @type {string} */ line) =>
    make('tr', null, ...cells(line).map((cell) => make(tag, null, ...spans(cell, make))));
  const body = rows.map((line) => row('td', line));
  const node = make(
    'table',
    null,
    make('thead', null, row('th', head)),
    make('tbody', null, ...body),
  );
  return make('div', { className: 'table', tabIndex: 0 }, node);
}

/** @param {string} line */
function cells(line) {
  const inner = line.trim().replace(/^\|/, '').replace(/\|$/, '');
  return inner.split('|').map((cell) => cell.trim());
}

/**
 * A list, with lists in it where items are indented.
 * @template E
 * @param {string[]} lines
 * @param {Make<E>} make
 * @param {number} [depth]
 * @returns {E}
 */
function list(lines, make, depth = 1) {
  const [, indent, mark] = /** @type {RegExpExecArray} */ (ITEM.exec(lines[0]));
  const ordered = /\d/.test(mark);
  const start = ordered && mark !== '1.' ? Number.parseInt(mark, 10) : null;
  /** @type {{text: string, inner: string[]}[]} */
  const items = [];
  for (const line of lines) {
    const item = ITEM.exec(line);
    const last = items.at(-1);
    const beside = depth === MAX_NESTED_LISTS || (item?.[1].length ?? 0) <= indent.length;
    if (item && (beside || !last)) items.push({ text: item[3], inner: [] });
    else if (last && (item || last.inner.length)) last.inner.push(line);
    else if (last) last.text += `\n${line.trim()}`;
  }
  const nodes = items.map(({ text, inner }) =>
    make('li', null, ...spans(text, make), ...(inner.length ? [list(inner, make, depth + 1)] : [])),
  );
  return make(ordered ? 'ol' : 'ul', start === null ? null : { start }, ...nodes);
}

/**
 * @template E
 * @param {string} text
 * @param {Make<E>} make
 * @returns {(E | string)[]}
 */
function spans(text, make) {
  if (text.length > MAX_SPANNED_CHARS) return [text];
  /** @type {(E | string)[]} */
  const nodes = [];
  let at = 0;
  for (const match of text.matchAll(SPAN)) {
    if (match.index > at) nodes.push(text.slice(at, match.index));
    nodes.push(span(match, make));
    at = match.index + match[0].length;
  }
  if (at < text.length) nodes.push(text.slice(at));
  return nodes;
}

/**
 * @template E
 * @param {RegExpMatchArray} match
 * @param {Make<E>} make
 * @returns {E | string}
 */
function span(match, make) {
  const { code: literal, bold, em, under, label, href, bare } = match.groups ?? {};
  if (literal !== undefined) return make('code', null, literal);
  if (bold !== undefined) return make('strong', null, ...spans(bold, make));
  if (em !== undefined || under !== undefined) {
    return make('em', null, ...spans(em ?? under, make));
  }
  return link(bare ?? href, bare ?? label, make) ?? match[0];
}

/**
 * A link that is safe to follow; null for any other address.
 * @template E
 * @param {string} href
 * @param {string} label
 * @param {Make<E>} make
 * @returns {E | null}
 */
export function link(href, label, make) {
  if (!SAFE_LINK.test(href)) return null;
  const rel = 'noopener noreferrer nofollow';
  return make('a', { href, rel, target: '_blank' }, label);
}
