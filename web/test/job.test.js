import assert from 'node:assert/strict';
import { test } from 'node:test';

import { GatewayError } from '../src/errors.js';
import { Job } from '../src/job.js';
import { counting, ManualClock, settled } from './support.js';

/** @typedef {import('../src/types.js').AnyFrame} AnyFrame */

/** @param {Partial<import('../src/job.js').JobOptions>} options */
function jobOf(options) {
  /** @type {AnyFrame[]} */
  const sent = [];
  const clock = new ManualClock();
  const job = new Job({
    session: 's_1',
    call: /** @type {any} */ ({ id: 'c_1', arguments: {} }),
    handler: () => 1,
    delay_ms: 0,
    began: () => {},
    makeId: counting(),
    clock,
    command: async (frame) => {
      sent.push(frame);
      return { type: 'ok', lease_ms: 300 };
    },
    ...options,
  });
  return { job, clock, sent };
}

test('a job that ran to its end is delivered', async () => {
  const { job, clock } = jobOf({});
  const run = job.run();
  await clock.advance(0);
  await run;
  assert.ok(job.delivered && job.live);
});

test('a job cancelled before its delay is over never claims', async () => {
  const { job, clock, sent } = jobOf({ delay_ms: 1000 });
  const run = job.run();
  job.cancel();
  await clock.advance(2000);
  await run;
  assert.deepEqual([sent, job.delivered], [[], false]);
});

test('the lease that the claim granted sets the pace of renewals', async () => {
  const { job, clock, sent } = jobOf({ handler: () => new Promise(() => {}) });
  void job.run();
  await clock.advance(0);
  await clock.advance(100);
  await settled();
  assert.deepEqual(
    sent.map((frame) => frame.type),
    ['tool.claim', 'tool.renew'],
  );
});

test('a tool may choose the code of its error', async () => {
  const { job, clock, sent } = jobOf({
    handler: () => Promise.reject(new GatewayError('app.gone', 'The cart is empty.')),
  });
  void job.run();
  await clock.advance(0);
  assert.deepEqual(sent[1].error, { code: 'app.gone', message: 'The cart is empty.' });
});

test('a renewal that may be repeated does not end the renewals', async () => {
  /** @type {string[]} */
  const types = [];
  const { job, clock } = jobOf({
    handler: () => new Promise(() => {}),
    command: async ({ type }) => {
      types.push(type);
      if (type === 'tool.renew') throw new GatewayError('internal', '', { retryable: true });
      return { type: 'ok', lease_ms: 300 };
    },
  });
  void job.run();
  await clock.advance(0);
  await clock.advance(250);
  assert.deepEqual(types, ['tool.claim', 'tool.renew', 'tool.renew']);
});

test('a handler gets the arguments by name, and ours beside them', async () => {
  /** @type {any} */
  let got;
  const args = { selector: 'h1', signal: 'own' };
  const call = /** @type {any} */ ({ id: 'c_1', arguments: args });
  const { job, clock, sent } = jobOf({
    call,
    handler: (run) => {
      got = run;
      run.attach({ url: 'https://x/a', media_type: 'text/plain' });
    },
  });
  void job.run();
  await clock.advance(0);
  assert.deepEqual([got.selector, got.args], ['h1', args]);
  assert.ok(got.signal instanceof AbortSignal);
  assert.deepEqual(JSON.parse(JSON.stringify(got)), { selector: 'h1' });
  const file = { kind: 'file', url: 'https://x/a', media_type: 'text/plain' };
  assert.deepEqual([sent[1].output, sent[1].files], [undefined, [file]]);
});
