import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Connection, MESSAGE_BYTES } from '../src/connection.js';
import { OPENING_MS, PROBE_MS, SILENCE_MS } from '../src/lifeline.js';
import { counting, event, lines, subscribed, WELCOME } from './support.js';

/** @typedef {import('../src/types.js').AnyFrame} AnyFrame */
/** @typedef {import('../src/connection.js').Input} Input */

/** A machine with a hand on its clock, and what it did as values. */
class Bench {
  now = 0;
  /** @type {any[]} */
  effects = [];

  /** @param {Partial<import('../src/connection.js').ConnectionOptions>} [options] */
  constructor(options) {
    this.machine = new Connection({
      client: 'tab_A',
      random: () => 0.5,
      makeId: counting(),
      ...options,
    });
  }

  /** @param {Input} input */
  step(input) {
    this.effects = this.machine.step(input, this.now);
    return this;
  }

  /** @param {AnyFrame[]} frames */
  hears(...frames) {
    const socket = /** @type {number} */ (this.machine.current);
    return this.step({ type: 'text', socket, text: lines(...frames) });
  }

  /** @param {number} ms */
  after(ms) {
    this.now += ms;
    return this.step({ type: 'tick' });
  }

  /** @param {string} type */
  of(type) {
    return this.effects.filter((effect) => effect.type === type);
  }

  /** @returns {AnyFrame[]} what the last step sent */
  get sent() {
    return this.of('send').flatMap(({ text }) =>
      text.split('\n').map((/** @type {string} */ line) => JSON.parse(line)),
    );
  }

  /** @param {string} [token] */
  opens(token) {
    const socket = /** @type {number} */ (this.machine.next);
    return this.step({ type: 'opened', socket, token });
  }

  /** @param {number} code */
  loses(code) {
    const socket = /** @type {number} */ (this.machine.current ?? this.machine.next);
    return this.step({ type: 'closed', socket, code, reason: '' });
  }

  /** A bench that is connected, with that many events of `s_1` received. */
  static open(
    /** @type {Partial<import('../src/connection.js').ConnectionOptions>} */ options = {},
  ) {
    const bench = new Bench(options);
    bench.step({ type: 'start' }).opens().hears(WELCOME);
    bench.step({ type: 'subscribe', session: 's_1', options: { detail: 'full' } });
    return bench.hears(subscribed({ id: bench.sent[0].id, seq: 1 }));
  }

  /** A bench whose `hello` went out on socket 2 while socket 1 lives. */
  static moving(/** @type {import('../src/types.js').SubscriptionOptions} */ options = {}) {
    const bench = new Bench().step({ type: 'start' }).opens().hears(WELCOME);
    bench.step({ type: 'subscribe', session: 's_1', options });
    bench.hears(subscribed({ id: bench.sent[0].id, seq: 1 }));
    bench.hears({ type: 'goaway', reason: 'drain', reconnect_after_ms: 0 }).after(0);
    return bench.opens();
  }
}

test('hello is the first frame, and says who and what for', () => {
  const bench = new Bench({ app: { name: 'demo', version: '1' } });
  bench.step({ type: 'start' });
  assert.deepEqual(bench.of('connect'), [{ type: 'connect', socket: 1 }]);
  assert.equal(bench.machine.status, 'connecting');
  bench.opens('secret');
  assert.deepEqual(bench.sent, [
    { type: 'hello', client: 'tab_A', token: 'secret', app: { name: 'demo', version: '1' } },
  ]);
  assert.equal(bench.hears(WELCOME).machine.status, 'open');
});

test('what is asked before the socket opens goes with hello, in one message', () => {
  const bench = new Bench().step({ type: 'start' });
  const create = { type: 'session.create', id: 'k_c', agent: 'echo', session: 's_1' };
  const send = { type: 'message.send', id: 'k_m', session: 's_1', content: 'hi' };
  bench.step({ type: 'command', frame: create });
  bench.step({ type: 'subscribe', session: 's_1', options: {}, after: 'k_c' });
  bench.step({ type: 'command', frame: send });
  bench.opens();
  assert.equal(bench.of('send').length, 1);
  assert.deepEqual(
    bench.sent.map((frame) => frame.type),
    ['hello', 'session.create', 'session.subscribe', 'message.send'],
  );
  assert.ok(!('sessions' in bench.sent[0]));
});

test('an answer reaches its command once', () => {
  const bench = Bench.open();
  bench.step({ type: 'command', frame: { type: 'session.list', id: 'k_l' } });
  assert.deepEqual(bench.sent, [{ type: 'session.list', id: 'k_l' }]);
  const ok = { type: 'ok', id: 'k_l', sessions: [], more: false };
  bench.hears(ok, ok);
  assert.deepEqual(bench.of('answer'), [{ type: 'answer', id: 'k_l', frame: ok }]);
});

test('many frames in one message, a bad line among them', () => {
  const bench = Bench.open();
  const text = [event(2, 'run.log'), event(3, 'run.log')].map((one) => JSON.stringify(one));
  text.splice(1, 0, '{"type":', 'null', '7');
  bench.step({ type: 'text', socket: 1, text: text.join('\n') });
  assert.deepEqual(
    bench.of('event').map((effect) => effect.event.seq),
    [2, 3],
  );
});

test('after a loss: hello with the cursor, then what has no answer, under its old id', () => {
  const bench = Bench.open().hears(event(2, 'run.log'));
  const send = { type: 'message.send', id: 'k_m', session: 's_1', content: 'hi' };
  bench.step({ type: 'command', frame: send });
  bench.loses(1006);
  assert.equal(bench.machine.status, 'resuming');
  assert.equal(bench.machine.deadline, 250);
  bench.after(250);
  assert.deepEqual(bench.of('connect'), [{ type: 'connect', socket: 2 }]);
  bench.opens();
  assert.deepEqual(bench.sent, [
    {
      type: 'hello',
      client: 'tab_A',
      sessions: [{ session: 's_1', after: 2, epoch: 'e_1', detail: 'full', window: 512 }],
    },
    send,
  ]);
  bench.hears(WELCOME, subscribed({ seq: 2, recovered: true }), event(3, 'run.log'));
  assert.deepEqual(
    [bench.machine.status, bench.of('recovered').length, bench.of('event').length],
    ['open', 1, 1],
  );
});

test('a session whose creation has no answer is subscribed after it, not in hello', () => {
  const bench = new Bench().step({ type: 'start' }).opens();
  bench.hears(WELCOME);
  const create = { type: 'session.create', id: 'k_c', agent: 'echo', session: 's_1' };
  bench.step({ type: 'command', frame: create });
  bench.step({ type: 'subscribe', session: 's_1', options: {}, after: 'k_c' });
  bench.loses(1006);
  bench.after(250);
  bench.opens();
  assert.deepEqual(
    bench.sent.map((frame) => frame.type),
    ['hello', 'session.create', 'session.subscribe'],
  );
  assert.ok(!('sessions' in bench.sent[0]));
});

test('a gap leads to a new subscription after the cursor; what comes meanwhile is dropped', () => {
  const bench = Bench.open().hears(event(2, 'run.log'), event(4, 'run.log'), event(5, 'run.log'));
  assert.deepEqual(
    bench.of('event').map((effect) => effect.event.seq),
    [2],
  );
  const [request] = bench.sent;
  assert.deepEqual([request.type, request.after, request.epoch], ['session.subscribe', 2, 'e_1']);
  bench.hears(
    subscribed({ id: request.id, seq: 2, recovered: true }),
    event(3, 'run.log'),
    event(4, 'run.log'),
  );
  assert.deepEqual(
    bench.of('event').map((effect) => effect.event.seq),
    [3, 4],
  );
});

test('a log that was lost resets the session', () => {
  const bench = Bench.open();
  bench.hears(subscribed({ seq: 9, epoch: 'e_2' }));
  const [{ session, state }] = bench.of('reset');
  assert.deepEqual([session, state.seq], ['s_1', 9]);
});

test('frames without time are no events, events of other sessions are none of ours', () => {
  const bench = Bench.open();
  bench.hears({ type: 'note', session: 's_1', seq: 2 }, event(2, 'run.log', { session: 's_2' }));
  assert.deepEqual(bench.effects, []);
});

test('acks go out by time', () => {
  const bench = Bench.open().hears(event(2, 'run.log'));
  assert.deepEqual(bench.sent, []);
  assert.equal(bench.machine.deadline, 250);
  bench.after(250);
  assert.deepEqual(bench.sent, [{ type: 'ack', session: 's_1', seq: 2 }]);
});

test('a ping is answered', () => {
  assert.deepEqual(Bench.open().hears({ type: 'ping' }).sent, [{ type: 'pong' }]);
});

test('silence is death', () => {
  const bench = Bench.open();
  bench.after(SILENCE_MS - 1);
  assert.deepEqual(bench.of('close'), []);
  bench.after(1);
  assert.deepEqual(bench.of('close'), [{ type: 'close', socket: 1 }]);
  assert.equal(bench.machine.status, 'resuming');
});

test('a hint leads to a probe, and no answer to a new socket', () => {
  const bench = Bench.open().step({ type: 'hint' });
  assert.deepEqual(bench.sent, [{ type: 'ping' }]);
  bench.hears({ type: 'pong' });
  bench.after(PROBE_MS);
  assert.equal(bench.machine.status, 'open');
  bench.step({ type: 'online', online: false });
  bench.after(PROBE_MS);
  assert.deepEqual(bench.of('close'), [{ type: 'close', socket: 1 }]);
});

test('tries fail: offline with a time for the next, and a hint tries at once', () => {
  const bench = Bench.open();
  bench.loses(1006);
  bench.after(250);
  assert.equal(bench.machine.status, 'resuming');
  bench.loses(1006);
  assert.deepEqual(bench.of('status'), [
    { type: 'status', status: 'offline', retryAt: 750, code: 1006, reason: '' },
  ]);
  bench.step({ type: 'online', online: true });
  assert.deepEqual(bench.of('connect'), [{ type: 'connect', socket: 3 }]);
});

test('a socket that does not open, or gets no welcome, is given up', () => {
  const bench = new Bench().step({ type: 'start' });
  bench.after(OPENING_MS);
  assert.deepEqual(bench.of('close'), [{ type: 'close', socket: 1 }]);
  bench.after(250);
  bench.opens();
  bench.after(OPENING_MS);
  assert.deepEqual(bench.of('close'), [{ type: 'close', socket: 2 }]);
});

test('a final close ends it, and every command gets an answer', () => {
  const bench = Bench.open();
  bench.step({ type: 'command', frame: { type: 'session.list', id: 'k_l' } });
  bench.loses(4403);
  assert.equal(bench.machine.status, 'closed');
  assert.equal(bench.machine.deadline, Infinity);
  assert.equal(bench.of('answer')[0].frame.code, 'client.closed');
  bench.step({ type: 'command', frame: { type: 'session.list', id: 'k_2' } });
  assert.equal(bench.of('answer')[0].frame.code, 'client.closed');
  bench.step({ type: 'start' });
  assert.deepEqual(bench.of('connect'), [{ type: 'connect', socket: 2 }]);
});

test('an ended token is final, unless a new one can be had, and then only once', () => {
  assert.equal(Bench.open().loses(4401).machine.status, 'closed');
  const bench = Bench.open({ renewable: true });
  assert.equal(bench.loses(4401).machine.status, 'resuming');
  bench.after(250);
  bench.opens('newer').loses(4401);
  assert.equal(bench.machine.status, 'closed');
});

test('goaway: the old socket goes on until the new one is welcomed', () => {
  const bench = Bench.open().hears({ type: 'goaway', reason: 'drain', reconnect_after_ms: 100 });
  bench.after(99);
  assert.deepEqual(bench.of('connect'), []);
  bench.after(1);
  assert.deepEqual(bench.of('connect'), [{ type: 'connect', socket: 2 }]);
  bench.hears(event(2, 'run.log')).opens();
  assert.deepEqual(bench.of('close'), []);
  assert.equal(bench.sent[0].sessions[0].after, 2);
  assert.equal(bench.of('send')[0].socket, 2);
  bench.hears(event(3, 'run.log'));
  assert.equal(bench.of('event').length, 1);
  const text = lines(WELCOME, subscribed({ seq: 2, recovered: true }), event(3, 'run.log'));
  bench.step({ type: 'text', socket: 2, text });
  assert.deepEqual(bench.of('close'), [{ type: 'close', socket: 1 }]);
  assert.deepEqual([bench.of('event'), bench.of('status')], [[], []]);
});

test('goaway: a move that fails is tried again, while the old socket goes on', () => {
  const bench = Bench.open().hears({ type: 'goaway', reason: 'drain', reconnect_after_ms: 0 });
  bench.after(0);
  bench.step({ type: 'closed', socket: 2, code: 1006, reason: '' });
  assert.equal(bench.machine.status, 'open');
  bench.after(250);
  assert.deepEqual(bench.of('connect'), [{ type: 'connect', socket: 3 }]);
  bench.step({ type: 'closed', socket: 1, code: 1012, reason: '' });
  assert.equal(bench.machine.status, 'resuming');
  bench.opens().hears(WELCOME);
  assert.equal(bench.machine.status, 'open');
});

test('goaway: our own hello ends the old socket, whatever becomes of the new one', () => {
  const bench = Bench.moving();
  bench.step({ type: 'command', frame: { type: 'session.list', id: 'k_l' } });
  bench.after(OPENING_MS);
  assert.deepEqual(bench.of('close'), [{ type: 'close', socket: 2 }]);
  bench.loses(4409);
  assert.deepEqual([bench.machine.running, bench.of('answer')], [true, []]);
  bench.after(30_000);
  assert.deepEqual(
    bench.opens().sent.map((frame) => frame.type),
    ['hello', 'session.list'],
  );
  assert.equal(bench.loses(4409).machine.status, 'closed');
});

test('goaway: a session left and joined anew, with the very same options, has no state', () => {
  const options = {};
  const bench = Bench.moving(options);
  bench.step({ type: 'unsubscribe', session: 's_1' });
  bench.step({ type: 'subscribe', session: 's_1', options });
  const text = lines(WELCOME, subscribed({ seq: 1, recovered: true }), event(2, 'run.log'));
  bench.step({ type: 'text', socket: 2, text });
  const [request] = bench.sent;
  assert.deepEqual([request.type, request.after], ['session.subscribe', undefined]);
  assert.deepEqual(bench.of('event'), []);
  bench.hears(subscribed({ id: request.id, seq: 2 }));
  assert.equal(bench.of('reset').length, 1);
});

test('messages are joined up to the limit of both sides, in bytes', () => {
  /** @param {number} bytes @param {string} id */
  const line = (bytes, id) => {
    const frame = { type: 'message.send', id, session: 's_1', content: 'ä'.repeat(100) };
    frame.content += 'x'.repeat(bytes - Buffer.byteLength(JSON.stringify(frame)));
    return frame;
  };
  const bench = Bench.open().loses(1006);
  const half = MESSAGE_BYTES / 2;
  for (const [index, bytes] of [half, half - 1, half, half].entries()) {
    bench.step({ type: 'command', frame: line(bytes, `k_${index}`) });
  }
  bench.step({ type: 'unsubscribe', session: 's_1' }).after(250);
  bench.opens();
  assert.deepEqual(
    bench.of('send').map(({ text }) => text.split('\n').length),
    [2, 2, 1],
  );
  assert.equal(Buffer.byteLength(bench.of('send')[1].text), MESSAGE_BYTES);
});

test('a draining gateway keeps no command: it goes to the next one', () => {
  const bench = Bench.open();
  const send = { type: 'message.send', id: 'k_m', session: 's_1', content: 'hi' };
  bench.step({ type: 'command', frame: send });
  const refusal = { code: 'server.draining', message: '', retryable: true };
  bench.hears({ type: 'error', id: 'k_m', session: 's_1', ...refusal });
  assert.deepEqual(bench.of('answer'), []);
  bench.loses(1012);
  bench.after(250);
  assert.deepEqual(bench.opens().sent.at(-1), send);
});

test('an expiring token is refreshed, and not again in the next hello', () => {
  const bench = Bench.open().hears({ type: 'auth.expiring', in_ms: 60_000 });
  assert.deepEqual(bench.effects, [{ type: 'refresh' }]);
  bench.step({ type: 'command', frame: { type: 'auth.refresh', id: 'k_t', token: 'new' } });
  bench.loses(1006);
  bench.after(250);
  bench.opens('newer');
  assert.deepEqual(
    bench.sent.map((frame) => frame.type),
    ['hello'],
  );
  assert.equal(bench.of('answer')[0].frame.type, 'ok');
});

test('a refused subscription is told and forgotten', () => {
  const bench = Bench.open();
  bench.loses(1006);
  bench.after(250);
  const refusal = { code: 'session.not_found', message: 'No.', retryable: false };
  bench.opens().hears(WELCOME, { type: 'error', session: 's_1', ...refusal });
  assert.equal(bench.of('refused')[0].frame.code, 'session.not_found');
  assert.equal(bench.machine.subscriptions.size, 0);
});

test('a subscription that may be asked again is', () => {
  const bench = Bench.open();
  bench.step({ type: 'subscribe', session: 's_2', options: {} });
  const refusal = { code: 'broker.unavailable', message: '', retryable: true };
  bench.hears({ type: 'error', id: bench.sent[0].id, session: 's_2', ...refusal });
  assert.deepEqual(bench.of('refused'), []);
  bench.after(250);
  assert.deepEqual([bench.sent[0].type, bench.sent[0].session], ['session.subscribe', 's_2']);
});

test('a frame above the limit is refused here, not by a lost connection', () => {
  const bench = Bench.open();
  bench.hears({ ...WELCOME, limits: { max_frame_bytes: 200 } });
  const content = 'ä'.repeat(100);
  bench.step({
    type: 'command',
    frame: { type: 'message.send', id: 'k_m', session: 's_1', content },
  });
  assert.equal(bench.of('answer')[0].frame.code, 'frame.too_large');
  assert.deepEqual(bench.sent, []);
  assert.equal(bench.machine.pending.size, 0);
});

test('an error that answers nothing is a problem to show', () => {
  const frame = { type: 'error', code: 'frame.malformed', message: '', retryable: false };
  assert.deepEqual(Bench.open().hears(frame).effects, [{ type: 'problem', frame }]);
});

test('a deleted session is not asked for again', () => {
  const bench = Bench.open().hears(event(2, 'session.deleted'));
  assert.equal(bench.of('event').length, 1);
  assert.equal(bench.machine.subscriptions.size, 0);
});

test('unsubscribing tells the gateway', () => {
  const bench = Bench.open().step({ type: 'unsubscribe', session: 's_1' });
  assert.deepEqual([bench.sent[0].type, bench.sent[0].session], ['session.unsubscribe', 's_1']);
});

test('what old sockets still say is ignored', () => {
  const bench = Bench.open();
  bench.loses(1006);
  bench.after(250);
  bench.opens();
  bench.step({ type: 'text', socket: 1, text: lines(event(2, 'run.log')) });
  bench.step({ type: 'closed', socket: 1, code: 4403, reason: '' });
  bench.step({ type: 'opened', socket: 1 });
  assert.deepEqual([bench.effects, bench.machine.current], [[], 2]);
});

test('stop closes for good, also while opening', () => {
  const bench = new Bench().step({ type: 'start' }).step({ type: 'stop' });
  assert.deepEqual(bench.of('close'), [{ type: 'close', socket: 1 }]);
  assert.equal(bench.machine.status, 'closed');
  assert.equal(bench.machine.deadline, Infinity);
});
