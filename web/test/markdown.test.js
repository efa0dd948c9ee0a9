import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import { growingSplit, link, rendered, split } from '../src/markdown.js';

/** @type {import('../src/markdown.js').Make<string>} */
const make = (tag, props, ...children) => {
  const told = Object.entries(props ?? {}).flatMap(([name, value]) =>
    value === null ? [] : ` ${name}=${value}`,
  );
  return `<${tag}${told.join('')}>${children.join('')}</${tag}>`;
};

/** @param {string} text */
const html = (text) => split(text).map((block) => rendered(block, make));

const TEXTS = [
  'One\ntwo\n\nthree\n# Head\nfour\n---\nfive\n---x\nsix',
  '```js\na\n\nb\n```\nafter\n\n~~~\nnever closed\n\nstill',
  '1. one\n   - inner\n2. two\n\n> quoted\n> more\n\n| a | b |\n| - | - |\n| 1 | 2 |\n\nend',
  '\n\n\n  \nlate\n***\n* item\n\n## #\n\n`````\n```\n`````\n',
];

test('blocks', () => {
  assert.deepEqual(html('# Title\ntext **bold** *em* `code` _under_'), [
    '<h3>Title</h3>',
    '<p>text <strong>bold</strong> <em>em</em> <code>code</code> <em>under</em></p>',
  ]);
  assert.deepEqual(html('3. a\n4. b\n   - c'), [
    '<ol start=3><li>a</li><li>b<ul><li>c</li></ul></li></ol>',
  ]);
  assert.deepEqual(html('```js\nlet a;\n```'), [
    '<pre data-language=js tabIndex=0><code>let a;</code></pre>',
  ]);
});

test('only safe addresses become links, and images are links too', () => {
  assert.equal(link('javascript:alert(1)', 'x', make), null);
  assert.equal(link('data:text/html,x', 'x', make), null);
  assert.deepEqual(html('[x](javascript:alert(1))'), ['<p>[x](javascript:alert(1))</p>']);
  assert.match(html('![x](https://a.example/p.png)')[0], /^<p><a href=https:[^>]*>x<\/a><\/p>$/);
  assert.deepEqual(html('<img src=x onerror=alert(1)>'), ['<p><img src=x onerror=alert(1)></p>']);
});

test('a text that grows is split as the whole text is, at every length', () => {
  for (const text of TEXTS) {
    for (const step of [1, 2, 5]) {
      const grow = growingSplit();
      for (let length = 0; length <= text.length; length += step) {
        assert.deepEqual(grow(text.slice(0, length)), split(text.slice(0, length)));
      }
    }
  }
});

test('a text that is replaced by another is split anew', () => {
  const grow = growingSplit();
  grow('one\n\ntwo\n\nthree');
  assert.deepEqual(grow('other\n\ntext'), ['other', 'text']);
  assert.deepEqual(grow(''), []);
});

// --- what an agent that means harm may say

const TAGS = new Set(
  'a blockquote code div em h3 h4 h5 h6 hr li ol p pre strong table tbody td th thead tr ul'.split(
    ' ',
  ),
);
/** @type {Record<string, (value: any) => boolean>} the properties that may be there, and their values */
const PROPS = {
  className: (value) => value === 'table',
  'data-language': (value) => value === null || /^[\w+-]+$/.test(value),
  href: (value) => /^(https?:\/\/|mailto:)/i.test(value),
  rel: (value) => value === 'noopener noreferrer nofollow',
  start: Number.isSafeInteger,
  tabIndex: (value) => value === 0,
  target: (value) => value === '_blank',
};

/**
 * Refuses whatever is not on the lists above; children are text or elements.
 * @type {import('../src/markdown.js').Make<{tag: string}>}
 */
const strict = (tag, props, ...children) => {
  assert.ok(TAGS.has(tag), tag);
  for (const [name, value] of Object.entries(props ?? {})) {
    assert.ok(PROPS[name]?.(value), `${tag} ${name}=${value}`);
  }
  for (const child of children) assert.ok(typeof child === 'string' || 'tag' in child);
  return { tag };
};

/** @param {string} text */
const draw = (text) => split(text).map((block) => rendered(block, strict));

/** @type {string[]} the browser tests show them to a real browser */
const ATTACKS = JSON.parse(readFileSync(new URL('attacks.json', import.meta.url), 'utf8'));

test('nothing that is said becomes more than the elements and properties that are known', () => {
  for (const text of ATTACKS) draw(text);
});

test('any mixture of these is as harmless', () => {
  let state = 7;
  const random = (/** @type {number} */ below) => {
    state = (state * 48_271) % 2_147_483_647;
    return state % below;
  };
  const glue = [
    '',
    ' ',
    '\n',
    '\n\n',
    '\n  - ',
    '> ',
    '**',
    '`',
    '```\n',
    '](',
    '[',
    '|',
    '\u0000',
  ];
  for (let round = 0; round < 3_000; round++) {
    let text = '';
    for (let piece = random(6); piece >= 0; piece--) {
      const attack = ATTACKS[random(ATTACKS.length)];
      const from = random(attack.length);
      text += attack.slice(from, from + random(attack.length)) + glue[random(glue.length)];
    }
    draw(text);
    assert.equal(split(text).join('').replaceAll(/\s/g, ''), text.replaceAll(/\s/g, ''));
  }
});

const REPEATED = [
  ...['*', '**', '_', '`', '```', '[', '](', '[a](', '![', '<', '>', '|', '-', '# ', '> ', '1. '],
  ...['- ', '\n- ', '\n', '\n> - ', '|-', ' :-: |', 'http://', 'http://a.', '**a', '_a ', '~~~\n'],
  ...[' ', '\t', '- - ', '* * ', '\u0000', '\ud800', '[x](https://a.example) '],
];

test('no repetition takes more than its length in time', () => {
  for (const piece of REPEATED) {
    const text = piece.repeat(Math.ceil(200_000 / piece.length));
    const began = process.cpuUsage();
    draw(text);
    draw(`a\n${text}\nb`);
    draw(text.slice(0, 19_000));
    const { user, system } = process.cpuUsage(began);
    assert.ok(user + system < 3_000_000, JSON.stringify(piece));
  }
});

test('lists that are nested without end stay shallow', () => {
  const lines = Array.from({ length: 2_000 }, (_, depth) => `${' '.repeat(depth)}- x`);
  let deepest = 0;
  /** @type {import('../src/markdown.js').Make<number>} */
  const depth = (_tag, _props, ...children) => {
    const inner = Math.max(0, ...children.filter((child) => typeof child === 'number'));
    deepest = Math.max(deepest, inner + 1);
    return inner + 1;
  };
  const [block, ...others] = split(lines.join('\n'));
  assert.equal(others.length, 0);
  rendered(block, depth);
  assert.ok(deepest <= 20, `${deepest}`);
});
