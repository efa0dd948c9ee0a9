/** Prints what the package weighs on a page: bundled and minified by esbuild, gzipped. */

import { gzipSync } from 'node:zlib';
import { fileURLToPath } from 'node:url';

import { build } from 'esbuild';

const SRC = fileURLToPath(new URL('../src', import.meta.url));

/**
 * Bytes of what an import brings along, gzipped.
 * @param {string} code
 * @param {string[]} [external]
 */
export async function weigh(code, external = []) {
  const { outputFiles } = await build({
    stdin: { contents: code, resolveDir: SRC },
    bundle: true,
    minify: true,
    format: 'esm',
    target: 'es2022',
    external,
    write: false,
  });
  return gzipSync(outputFiles[0].contents, { level: 9 }).length;
}

/** @type {[name: string, code: string, external?: string[]][]} */
const ENTRIES = [
  ['all of agent-gateway', "export * from './index.js'"],
  ['GatewayClient and tools', "export { GatewayClient, tool, string } from './index.js'"],
  ['agent-gateway/react', "export * from './react/index.js'", ['react']],
];

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const [name, code, external] of ENTRIES) {
    console.log(`${name}: ${await weigh(code, external)} bytes (minified, gzipped)`);
  }
}
