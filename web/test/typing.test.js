/** The declarations that are generated, and what the package weighs. */

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { weigh } from '../scripts/size.js';

const WEB = fileURLToPath(new URL('..', import.meta.url));
const CORE_BYTES = 17_000;

/** @param {string[]} args */
function tsc(...args) {
  try {
    execFileSync(process.execPath, [`${WEB}node_modules/typescript/bin/tsc`, ...args], {
      cwd: WEB,
      encoding: 'utf8',
    });
  } catch (error) {
    assert.fail(/** @type {{stdout: string}} */ (error).stdout);
  }
}

test('the generated declarations say what the sources say', () => {
  const folder = mkdtempSync(`${WEB}node_modules/.types-`);
  try {
    tsc('-p', 'tsconfig.types.json', '--outDir', folder);
    const options = {
      extends: `${WEB}tsconfig.json`,
      compilerOptions: {
        allowJs: false,
        checkJs: false,
        paths: { 'agent-gateway': [`${folder}/index.d.ts`] },
      },
      include: [],
      files: [`${WEB}test/typing/api.ts`],
    };
    writeFileSync(`${folder}/tsconfig.json`, JSON.stringify(options));
    tsc('-p', folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('the core stays small', async () => {
  const bytes = await weigh("export * from './index.js'");
  assert.ok(bytes < CORE_BYTES, `${bytes} bytes`);
});
