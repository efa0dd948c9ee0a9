/** The short form of inputs and effects in which protocol/vectors/connection.json holds machines. */

import { Connection } from '../src/connection.js';
import { counting, lines } from './support.js';

/** @typedef {import('../src/connection.js').Effect} Effect */
/** @typedef {import('../src/connection.js').Input} Input */

/**
 * @typedef {object} Vector
 * @property {string} name
 * @property {import('../src/connection.js').ConnectionOptions} options
 * @property {number} random
 * @property {{at: number, input: any, effects: any[], deadline: number | null, status: string}[]} steps
 */

/** @type {{[K in Effect['type']]: (effect: Extract<Effect, {type: K}>) => Record<string, unknown>}} */
const SHORT = {
  connect: ({ socket }) => ({ socket }),
  send: ({ socket, text }) => ({
    socket,
    frames: text.split('\n').map((line) => JSON.parse(line)),
  }),
  close: ({ socket }) => ({ socket }),
  refresh: () => ({}),
  welcome: () => ({}),
  status: ({ status, retryAt, code }) => ({ status, retry_at: retryAt, code }),
  answer: ({ id, frame }) => ({ id, outcome: frame.type === 'ok' ? 'ok' : frame.code }),
  event: ({ session, event }) => ({ session, seq: event.seq }),
  reset: ({ session, state }) => ({ session, epoch: state.epoch, seq: state.seq }),
  recovered: ({ session }) => ({ session }),
  refused: ({ session, frame }) => ({ session, code: frame.code }),
  problem: ({ frame }) => ({ code: frame.code }),
};

/** @param {Effect} effect */
function short(effect) {
  return { type: effect.type, ...SHORT[effect.type](/** @type {any} */ (effect)) };
}

/**
 * @param {any} input
 * @returns {Input}
 */
function long(input) {
  if (input.type === 'text') return { text: lines(...(input.frames ?? [])), ...input };
  return input.type === 'closed' ? { reason: '', ...input } : input;
}

/**
 * What a machine does step by step: the vector as it would be if the machine were right.
 * @param {Vector} vector
 * @returns {Vector}
 */
export function played(vector) {
  const { options, random } = vector;
  const machine = new Connection({ ...options, random: () => random, makeId: counting() });
  const steps = vector.steps.map(({ at, input }) => {
    const effects = machine.step(long(input), at).map(short);
    const deadline = Number.isFinite(machine.deadline) ? machine.deadline : null;
    return { at, input, effects, deadline, status: machine.status };
  });
  return { ...vector, steps };
}
