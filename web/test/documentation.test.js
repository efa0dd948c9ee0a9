/** docs/javascript-client.md: its programs run, word for word but for the address. */

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { gateway } from './gateway.js';

const PAGE = readFileSync(new URL('../../docs/javascript-client.md', import.meta.url), 'utf8');
const PROGRAMS = [...PAGE.matchAll(/```js\n(.*?)```/gs)].map(([, program]) => program);
const PACKAGE = new URL('../src/index.js', import.meta.url).href;
// What Node has from version 22 on.
const MODERN = "import { WebSocket } from 'ws'; globalThis.WebSocket ??= WebSocket;\n";

const SAID = [
  'And another one completed',
  'calculator { expression: \'42 * 17\' }\nIt is {"length":7}.',
  '{"decision":"approve"}',
  'completed\n{ answer: 42 }',
  'completed Hello there',
];

/** @type {string} */
let url;

before(async () => {
  url = await gateway();
});

test('every program has its answer here', () => {
  assert.equal(PROGRAMS.length, SAID.length);
});

SAID.forEach((said, index) => {
  test(`program ${index + 1} runs`, async () => {
    const program = PROGRAMS[index]
      .replace("'agent-gateway'", `'${PACKAGE}'`)
      .replace('http://127.0.0.1:8000', url);
    const { stdout } = await promisify(execFile)(
      process.execPath,
      ['--input-type=module', '-e', MODERN + program],
      { cwd: fileURLToPath(new URL('..', import.meta.url)), timeout: 30_000 },
    );
    assert.ok(stdout.includes(said), stdout);
  });
});
