import assert from 'node:assert/strict';
import { test } from 'node:test';

import { GatewayError } from '../src/errors.js';
import { apply } from '../src/state.js';
import { claimDelay, ToolRunner, wireTool } from '../src/tools.js';
import { counting, event, ManualClock, settled, stateOf } from './support.js';

/** @typedef {import('../src/types.js').AnyFrame} AnyFrame */

const LEASE_MS = 15_000;
const TOOL = { name: 'look', parameters: { type: 'object' } };

/** @param {Record<string, any>} [fields] */
function callOf(fields = {}) {
  return /** @type {any} */ ({
    id: 'c_1',
    run: 'r_1',
    message: 'm_1',
    name: 'look',
    target: 'client',
    arguments: { level: 1 },
    status: 'requested',
    lease_ms: LEASE_MS,
    ...fields,
  });
}

/** A session with one call, a tab, and what the gateway answers. */
class Bench {
  clock = new ManualClock();
  /** @type {AnyFrame[]} */
  sent = [];
  /** @type {any[]} */
  runs = [];
  /** @type {Record<string, (frame: AnyFrame) => AnyFrame | Promise<AnyFrame>>} */
  answers = { 'tool.claim': () => ({ type: 'ok', lease_ms: LEASE_MS }) };
  /** @type {(run: any) => unknown} */
  handler = () => 'done';

  /** @param {Record<string, any>} [tool] */
  constructor(tool = {}) {
    this.runner = new ToolRunner({
      client: 'tab_A',
      makeId: counting(),
      clock: this.clock,
      command: async (frame) => {
        this.sent.push(frame);
        return this.answers[frame.type]?.(frame) ?? { type: 'ok' };
      },
    });
    const handler = (/** @type {any} */ run) => {
      this.runs.push(run);
      return this.handler(run);
    };
    this.runner.declare('s_1', [{ ...TOOL, ...tool, handler }]);
    this.state = stateOf({
      messages: [{ id: 'm_1', role: 'assistant', status: 'complete', time: '', parts: [] }],
    });
  }

  /** @param {Record<string, any>} fields */
  sees(fields) {
    this.state = { ...this.state, calls: { c_1: callOf(fields) } };
    this.runner.observe(this.state);
    return settled();
  }

  /** @param {string} type @param {Record<string, any>} [fields] */
  hears(type, fields = {}) {
    if (!this.state.calls.c_1) {
      const calls = { c_1: callOf({ status: 'streaming', arguments: '' }) };
      this.state = { ...this.state, calls };
    }
    const heard = event(this.state.seq + 1, type, { call: 'c_1', target: 'client', ...fields });
    this.state = apply(this.state, heard);
    this.runner.heed(heard, this.state);
    return settled();
  }

  get types() {
    return this.sent.map((frame) => frame.type);
  }
}

const OFFER = { arguments: { level: 2 }, client: 'tab_A', lease_ms: LEASE_MS };

/** @param {string} code @param {boolean} [retryable] */
function refuse(code, retryable = false) {
  return () => Promise.reject(new GatewayError(code, 'No.', { retryable }));
}

test('whose turn it is', () => {
  const tool = /** @type {any} */ ({ ...TOOL, handler() {} });
  const again = { ...tool, idempotent: true };
  const delay = (/** @type {any} */ fields, /** @type {any} */ by = tool) =>
    claimDelay(callOf(fields), 'tab_A', by);
  assert.equal(delay({}), 0);
  assert.equal(delay({ client: 'tab_A' }), 0);
  assert.equal(delay({ client: 'tab_B' }, again), null);
  assert.equal(delay({ client: 'tab_B', lease_until: 'past' }, again), 1000);
  assert.equal(delay({ client: 'tab_B', lease_until: 'past' }), null);
  assert.equal(delay({ status: 'claimed', client: 'tab_A' }), 0);
  assert.equal(delay({ status: 'claimed', client: 'tab_B' }, again), null);
  assert.equal(delay({ status: 'streaming' }), null);
  assert.equal(delay({ status: 'completed' }), null);
  assert.equal(delay({ target: 'server' }), null);
});

test('a handler does not go over the wire', () => {
  assert.deepEqual(wireTool({ ...TOOL, handler() {} }), TOOL);
});

test('a call is claimed, executed with its arguments, and answered', async () => {
  const bench = new Bench();
  await bench.hears('tool_call.requested', OFFER);
  const [claim, result] = bench.sent;
  assert.deepEqual(claim, { type: 'tool.claim', id: claim.id, session: 's_1', call: 'c_1' });
  assert.deepEqual(result, {
    type: 'tool.result',
    id: result.id,
    session: 's_1',
    call: 'c_1',
    output: 'done',
  });
  assert.deepEqual(bench.runs[0].args, { level: 2 });
});

test('a tool of another name, or of nobody here, is left alone', async () => {
  const bench = new Bench({ name: 'other' });
  await bench.hears('tool_call.requested', OFFER);
  assert.deepEqual(bench.sent, []);
});

test("another tab's call is taken only when it is released", async () => {
  const bench = new Bench();
  await bench.hears('tool_call.requested', { ...OFFER, client: 'tab_B' });
  assert.deepEqual(bench.types, []);
  await bench.hears('tool_call.released', { reason: 'unclaimed' });
  assert.deepEqual(bench.types, ['tool.claim', 'tool.result']);
});

test('after a lost lease of an idempotent tool the last holder has a second to come first', async () => {
  const bench = new Bench({ idempotent: true });
  await bench.hears('tool_call.requested', { ...OFFER, client: 'tab_B' });
  await bench.hears('tool_call.claimed', { client: 'tab_B', lease_until: 'soon' });
  await bench.hears('tool_call.released', { reason: 'lease_expired' });
  await bench.clock.advance(999);
  assert.deepEqual(bench.types, []);
  await bench.clock.advance(1);
  await settled();
  assert.deepEqual(bench.types, ['tool.claim', 'tool.result']);
});

test('and when it does come first, nobody else claims', async () => {
  const bench = new Bench({ idempotent: true });
  await bench.sees({ client: 'tab_B', lease_until: 'past' });
  await bench.hears('tool_call.claimed', { client: 'tab_B', lease_until: 'later' });
  await bench.clock.advance(5000);
  assert.deepEqual(bench.types, []);
});

test('a refused claim executes nothing', async () => {
  const bench = new Bench();
  bench.answers['tool.claim'] = refuse('tool.held');
  await bench.hears('tool_call.requested', OFFER);
  assert.deepEqual([bench.types, bench.runs], [['tool.claim'], []]);
});

test('an open call in the state of a reload is taken up', async () => {
  const bench = new Bench();
  await bench.sees({ client: undefined });
  assert.deepEqual(bench.types, ['tool.claim', 'tool.result']);
});

test('the lease is renewed every third of it, until the handler is done', async () => {
  const bench = new Bench();
  /** @type {(value: unknown) => void} */
  let finish = () => {};
  bench.handler = () => new Promise((resolve) => (finish = resolve));
  await bench.hears('tool_call.requested', OFFER);
  await bench.clock.advance(LEASE_MS);
  assert.deepEqual(bench.types.slice(1), ['tool.renew', 'tool.renew', 'tool.renew']);
  finish(null);
  await bench.clock.advance(LEASE_MS);
  assert.equal(bench.types.at(-1), 'tool.result');
  assert.ok(!('output' in /** @type {AnyFrame} */ (bench.sent.at(-1))));
  assert.equal(bench.types.filter((type) => type === 'tool.renew').length, 3);
});

test('progress rides on renewals, at most four in a second, the newest wins', async () => {
  const bench = new Bench();
  bench.handler = ({ progress }) => {
    for (let current = 1; current <= 10; current++) progress({ current, total: 10 });
    return new Promise(() => {});
  };
  await bench.hears('tool_call.requested', OFFER);
  await bench.clock.advance(1000);
  const renewals = bench.sent.filter((frame) => frame.type === 'tool.renew');
  assert.deepEqual(
    renewals.map((frame) => frame.progress),
    [{ current: 10, total: 10 }],
  );
});

test('a handler that throws is an error for the agent', async () => {
  const bench = new Bench();
  bench.handler = () => {
    throw new Error('no such heading');
  };
  await bench.hears('tool_call.requested', OFFER);
  assert.deepEqual(bench.sent[1].error, { code: 'tool.failed', message: 'no such heading' });
});

test('a result is sent again under the same id while it may be', async () => {
  const bench = new Bench();
  let tries = 0;
  bench.answers['tool.result'] = (frame) =>
    ++tries < 3 ? refuse('broker.unavailable', true)() : { type: 'ok', id: frame.id };
  await bench.hears('tool_call.requested', OFFER);
  await bench.clock.advance(5000);
  const ids = bench.sent.filter(({ type }) => type === 'tool.result').map(({ id }) => id);
  assert.equal(ids.length, 3);
  assert.equal(new Set(ids).size, 1);
});

test('a result that cannot be sent becomes an error the agent can read', async () => {
  const bench = new Bench();
  bench.answers['tool.result'] = (frame) =>
    'output' in frame ? refuse('frame.too_large')() : { type: 'ok', id: frame.id };
  await bench.hears('tool_call.requested', OFFER);
  assert.deepEqual(bench.types, ['tool.claim', 'tool.result', 'tool.result']);
  assert.equal(bench.sent[2].error.code, 'tool.failed');
});

test('a call that is closed by others aborts its handler and sends nothing', async () => {
  const bench = new Bench();
  bench.handler = ({ signal }) =>
    new Promise((_, reject) =>
      signal.addEventListener('abort', () => reject(new Error('aborted'))),
    );
  await bench.hears('tool_call.requested', OFFER);
  await bench.hears('tool_call.completed', { error: { code: 'tool.cancelled', message: '' } });
  assert.ok(bench.runs[0].signal.aborted);
  await bench.clock.advance(LEASE_MS);
  assert.deepEqual(bench.types, ['tool.claim']);
});

test('a lease lost under a running handler is taken back, without running it again', async () => {
  const bench = new Bench();
  bench.handler = () => new Promise(() => {});
  await bench.hears('tool_call.requested', OFFER);
  await bench.hears('tool_call.claimed', { client: 'tab_A', lease_until: 'soon' });
  await bench.hears('tool_call.released', { reason: 'lease_expired' });
  assert.deepEqual([bench.types, bench.runs.length], [['tool.claim', 'tool.claim'], 1]);
  bench.answers['tool.claim'] = refuse('tool.held');
  await bench.hears('tool_call.released', { reason: 'lease_expired' });
  assert.ok(bench.runs[0].signal.aborted);
});

test('a call whose result has been stored is not executed again', async () => {
  const bench = new Bench();
  await bench.hears('tool_call.requested', OFFER);
  await bench.sees({ status: 'claimed', client: 'tab_A' });
  assert.equal(bench.runs.length, 1);
});

test('a state without the call, or with it in other hands, cancels the job', async () => {
  const others = callOf({ status: 'claimed', client: 'tab_B' });
  for (const calls of /** @type {Record<string, any>[]} */ ([{}, { c_1: others }])) {
    const bench = new Bench();
    bench.handler = () => new Promise(() => {});
    await bench.hears('tool_call.requested', OFFER);
    bench.runner.observe({ ...bench.state, calls });
    assert.ok(bench.runs[0].signal.aborted);
  }
});

test('a session that is closed cancels its jobs', async () => {
  const bench = new Bench();
  bench.handler = () => new Promise(() => {});
  await bench.hears('tool_call.requested', OFFER);
  bench.runner.forget('s_1');
  assert.ok(bench.runs[0].signal.aborted);
});

test('what may have taken effect is not done again after the session was left', async () => {
  for (const idempotent of [false, true]) {
    const bench = new Bench({ idempotent });
    bench.handler = () => new Promise(() => {});
    await bench.hears('tool_call.requested', OFFER);
    bench.runner.forget('s_1');
    assert.ok(bench.runs[0].signal.aborted);
    const handler = (/** @type {any} */ run) => void bench.runs.push(run);
    bench.runner.declare('s_1', [{ ...TOOL, idempotent, handler }]);
    await bench.sees({ status: 'claimed', client: 'tab_A', lease_until: 'soon' });
    assert.equal(bench.runs.length, idempotent ? 2 : 1);
    await bench.hears('tool_call.released', { reason: 'lease_expired' });
    assert.equal(bench.runs.length, idempotent ? 2 : 1);
  }
});

test('a result that the closed client could not send is sent when it is back', async () => {
  const bench = new Bench();
  bench.answers['tool.result'] = refuse('client.closed');
  await bench.hears('tool_call.requested', OFFER);
  delete bench.answers['tool.result'];
  await bench.sees({ status: 'claimed', client: 'tab_A', lease_until: 'soon' });
  assert.deepEqual(bench.types, ['tool.claim', 'tool.result', 'tool.result']);
  assert.deepEqual(bench.sent[1], bench.sent[2]);
  await bench.sees({ status: 'claimed', client: 'tab_A', lease_until: 'soon' });
  assert.deepEqual([bench.runs.length, bench.sent.length], [1, 3]);
});
