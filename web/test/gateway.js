/** A real gateway for tests, as its own process; Node 20 is given the WebSocket it lacks. */

import { spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { existsSync } from 'node:fs';
import { createServer } from 'node:net';
import { after } from 'node:test';
import { fileURLToPath } from 'node:url';

import { WebSocket } from 'ws';

import { GatewayClient } from '../src/index.js';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const AGENTS = ['echo', 'scripted', ...['video', 'image', 'stuck', 'assistant'].map(ours)];
const SETPRIV = '/usr/bin/setpriv';
const START_MS = 30_000;
const POLL_MS = 50;

/** @type {(() => void)[]} what ends with the file; a hook inside a hook would end too early */
const endings = [];
after(() => {
  for (const end of endings) end();
});

/** @param {string} name */
function ours(name) {
  return `agents:${name}`;
}

/** The interpreter of the checkout; AGENT_GATEWAY_PYTHON names another one. */
function python() {
  const own = `${ROOT}.venv/bin/python`;
  return process.env.AGENT_GATEWAY_PYTHON ?? (existsSync(own) ? own : 'python3');
}

/**
 * One that nobody is given unasked: below the range of which connections take theirs.
 * @returns {Promise<number>}
 */
function freePort() {
  return new Promise((resolve) => {
    const server = createServer();
    const draw = () => server.listen(randomInt(10_000, 20_000), '127.0.0.1');
    server.on('error', draw);
    server.once('listening', () => {
      const { port } = /** @type {import('node:net').AddressInfo} */ (server.address());
      server.close(() => resolve(port));
    });
    draw();
  });
}

/**
 * Starts a gateway that ends with the test file.
 * @param {string[]} options of `agent-gateway serve`
 * @returns {Promise<string>} its URL
 */
export async function gateway(...options) {
  const port = await freePort();
  const args = ['-m', 'gateway.cli', 'serve', '--port', `${port}`, '--agents', AGENTS.join(',')];
  const inherited = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !name.startsWith('AGENT_GATEWAY_')),
  );
  // It dies with the tests, however they die.
  const tied = existsSync(SETPRIV) ? [SETPRIV, '--pdeathsig', 'KILL', '--'] : [];
  const [program, ...rest] = [...tied, python(), ...args, ...options];
  const child = spawn(program, rest, {
    cwd: ROOT,
    env: { ...inherited, PYTHONPATH: `${ROOT}:${ROOT}web/test` },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (data) => (output += data));
  endings.push(() => child.kill('SIGKILL'));
  const url = `http://127.0.0.1:${port}`;
  const until = Date.now() + START_MS;
  while (!(await ready(url))) {
    if (child.exitCode !== null || Date.now() > until) throw new Error(`No gateway:\n${output}`);
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
  return url;
}

/** @param {string} url */
async function ready(url) {
  try {
    return (await fetch(`${url}/readyz`)).ok;
  } catch {
    return false;
  }
}

/** Every socket that a client of these tests opened. */
export class CountedSocket extends WebSocket {
  /** @type {CountedSocket[]} */
  static opened = [];

  /** @param {string} url @param {string[]} protocols */
  constructor(url, protocols) {
    super(url, protocols);
    CountedSocket.opened.push(this);
  }
}

/**
 * A connected client, closed at the end of the file.
 * @param {string} url
 * @param {import('../src/client.js').ClientOptions} [options]
 */
export async function join(url, options) {
  const client = new GatewayClient({ url, WebSocket: CountedSocket, ...options });
  endings.unshift(() => client.close());
  client.connect();
  await client.ready({ timeout_ms: START_MS });
  return client;
}

/** @param {unknown[]} steps of the agent `scripted` */
export function script(...steps) {
  return JSON.stringify(steps);
}
