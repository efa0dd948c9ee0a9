import assert from 'node:assert/strict';
import { test } from 'node:test';

import { EventStream, MAX_BUFFERED } from '../src/events.js';
import { event, stateOf } from './support.js';

test('a slow reader loses events, never its place', async () => {
  const stream = new EventStream();
  for (let seq = 1; seq <= MAX_BUFFERED; seq++) stream.put(event(seq, 'run.log'), stateOf({ seq }));
  assert.equal(stream.backlog, MAX_BUFFERED);
  const seq = MAX_BUFFERED + 1;
  const state = stateOf({ seq });
  stream.put(event(seq, 'run.log'), state);
  stream.put(event(seq + 1, 'run.log'), stateOf({ seq: seq + 1 }));
  assert.equal(stream.backlog, 2);
  assert.deepEqual((await stream.next()).value, { type: 'reset', state });
  assert.equal((await stream.next()).value.seq, seq + 1);
});
