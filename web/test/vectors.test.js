/** The golden vectors that the Python side is held to as well. */

import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';

import { Connection } from '../src/connection.js';
import { fold } from '../src/state.js';
import { played } from './effects.js';

const FOLDER = new URL('../../protocol/vectors/', import.meta.url);

/** @returns {any[]} */
function vectors() {
  const files = readdirSync(FOLDER).filter((name) => name.endsWith('.json'));
  return files.flatMap((name) => {
    const read = JSON.parse(readFileSync(new URL(name, FOLDER), 'utf8'));
    return Array.isArray(read) ? read : [read];
  });
}

const folds = vectors().filter((vector) => 'events' in vector);
const frames = vectors().filter((vector) => 'frame' in vector);
const connections = vectors().filter((vector) => 'steps' in vector);

test('there are vectors of all kinds', () => {
  for (const kind of [folds, frames, connections]) assert.ok(kind.length > 0);
});

for (const vector of connections) {
  test(`connection: ${vector.name}`, () => assert.deepEqual(played(vector), vector));
}

for (const { name, state, events, expect } of folds) {
  test(`fold: ${name}`, () => {
    const given = structuredClone(state);
    assert.deepEqual(fold(state, events), expect);
    assert.deepEqual(state, given, 'the start state was changed in place');
  });
}

for (const { name, frame, valid } of frames) {
  if (!valid) continue;
  test(`frame: ${name} does no harm to a connection`, () => {
    const machine = new Connection({ client: 'tab_A' });
    machine.step({ type: 'start' }, 0);
    machine.step({ type: 'opened', socket: 1 }, 0);
    const text = JSON.stringify(frame);
    const effects = machine.step({ type: 'text', socket: 1, text }, 1);
    assert.ok(effects.every((effect) => effect.type !== 'close'));
  });
}
