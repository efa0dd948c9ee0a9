import assert from 'node:assert/strict';
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
