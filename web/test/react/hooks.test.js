import assert from 'node:assert/strict';
import { test } from 'node:test';

import { act, createElement as h, StrictMode, useEffect } from 'react';

import { GatewayClient } from '../../src/client.js';
import { container, elements, pretendDocument, propsOf } from './dom.js';
import { Line, welcomed } from './line.js';

pretendDocument();
const { createRoot } = await import('react-dom/client');
const { AgentChatContext, AgentChatProvider, useAgentChat, useClient } =
  await import('../../src/react/provider.js');
const { useRun, useStream } = await import('../../src/react/run.js');
const { ApprovalCard } = await import('../../src/react/calls.js');

globalThis.WebSocket = /** @type {any} */ (Line);

const pause = (/** @type {number} */ ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Longer than clients that nobody holds are kept. */
const LINGER_MS = 1_200;

/** A page with one component on it. */
function page() {
  const node = container();
  const root = createRoot(node);
  return {
    node,
    /** @param {import('react').ReactNode} shown */
    show: (shown) => act(async () => root.render(shown)),
    leave: () => act(async () => root.unmount()),
  };
}

/** @param {string} url */
const lines = (url) => Line.all.filter((line) => line.url.includes(url));

test('useRun starts one run also where React puts everything up twice', async () => {
  const client = new GatewayClient({ url: 'http://twice.test/', WebSocket: Line });
  client.connect();
  await pause(0);
  const line = welcomed(client);
  const Report = () => (useRun({ app: 'report' }, { client }), null);
  const { show, leave } = page();
  await show(h(StrictMode, null, h(Report)));
  assert.equal(line.all('session.create').length, 1);
  await leave();
  client.close();
});

test('a component that goes away while nothing answers has its run stopped later', async () => {
  /** @type {ReturnType<typeof useStream>} */
  let stream = /** @type {any} */ (null);
  const Report = () => ((stream = useStream({ url: 'http://away.test/' })), null);
  const { show, leave } = page();
  await show(h(Report));
  await act(async () => void stream.run({ app: 'report' }));
  await pause(0);
  await leave();
  await pause(LINGER_MS);
  const line = lines('away.test')[0];
  welcomed(null, line);
  const session = line.last('session.create').session;
  const run = line.last('run.start') ?? line.last('message.send');
  line.say({ type: 'ok', id: line.last('session.create').id, session });
  line.say({ type: 'ok', id: run.id, message: 'm', run: 'r_1', seq: 3 });
  await pause(20);
  const stop = line.last('run.interrupt');
  assert.equal(stop?.run, 'r_1');
  assert.equal(line.closed, false);
  line.say({ type: 'ok', id: stop.id, seq: 4 });
  await pause(LINGER_MS);
  assert.equal(line.closed, true);
});

test('a run whose client is refused for good says so, and keeps no client', async () => {
  /** @type {ReturnType<typeof useStream>} */
  let stream = /** @type {any} */ (null);
  const Report = () => ((stream = useStream({ url: 'http://refused.test/' })), null);
  const { show, leave } = page();
  await show(h(Report));
  await act(async () => void stream.run({ app: 'report' }));
  await pause(0);
  const line = welcomed(null, lines('refused.test')[0]);
  const { session, id } = line.last('session.create');
  line.say({ type: 'ok', id, session });
  await act(async () => {
    line.say({ type: 'ok', id: line.last('run.start').id, run: 'r_1', seq: 3 });
    await pause(20);
    line.onclose({ code: 4403, reason: '' });
    await pause(20);
  });
  assert.equal(stream.status, 'error');
  await leave();
  await pause(LINGER_MS);
  // Nobody held the one before: another component makes another client.
  const other = page();
  await other.show(h(Report));
  await pause(0);
  assert.equal(lines('refused.test').length, 2);
  await other.leave();
  await pause(LINGER_MS);
});

test('a task that cannot be sent keeps no client', async () => {
  /** @type {ReturnType<typeof useStream>} */
  let stream = /** @type {any} */ (null);
  const Report = () => ((stream = useStream({ url: 'http://nothing.test/' })), null);
  const { show, leave } = page();
  await show(h(Report));
  await act(() => stream.run({}));
  assert.equal(stream.status, 'error');
  await leave();
  await pause(LINGER_MS);
  assert.equal(lines('nothing.test')[0].closed, true);
});

test('a token that becomes a function, and one that changes, are the ones that count', async () => {
  /** @type {(GatewayClient | null)[]} */
  const seen = [];
  const Within = () => (useAgentChat(), null);
  const url = 'http://token.test/';
  /** @param {{token?: import('../../src/client.js').Token}} props */
  const Client = ({ token }) => {
    const client = useClient(undefined, url, token);
    useEffect(() => void seen.push(client()));
    return null;
  };
  /** @param {import('../../src/client.js').Token} [token] */
  const shown = (token) => [
    h(AgentChatProvider, { key: 'chat', agent: 'echo', url, token }, h(Within)),
    h(Client, { key: 'client', token }),
  ];
  const { show, leave } = page();
  const heard = [];
  for (const token of [undefined, () => 'made', () => 'made anew', 'fixed', () => 'later']) {
    await show(shown(token));
    await pause(0);
    const line = /** @type {Line} */ (lines('token.test').at(-1));
    line.onopen?.();
    heard.push([lines('token.test').length, line.last('hello')?.token]);
  }
  assert.deepEqual(heard, [
    [1, undefined],
    [2, 'made'],
    [2, 'made'],
    [3, 'fixed'],
    [4, 'later'],
  ]);
  assert.equal(new Set(seen).size, 4);
  assert.equal(seen[1], seen[2]);
  await leave();
  await pause(LINGER_MS);
});

test('Deny needs no valid arguments, Allow does', async () => {
  /** @type {unknown[]} */
  const done = [];
  const actions = {
    approveTool: async (/** @type {unknown[]} */ ...given) => done.push(['approve', ...given]),
    rejectTool: async (/** @type {unknown[]} */ ...given) => done.push(['deny', ...given]),
  };
  const approval = { id: 'ap', title: 'Pay', call: 'c', arguments: { sum: 1 } };
  const { node, show, leave } = page();
  const chat = /** @type {any} */ ({ actions });
  const card = h(ApprovalCard, { approval: /** @type {any} */ (approval) });
  await show(h(AgentChatContext.Provider, { value: chat }, card));
  const type = (/** @type {string} */ value) =>
    act(async () => propsOf(elements(node, 'textarea')[0]).onChange({ target: { value } }));
  const press = (/** @type {number} */ index) => {
    const button = elements(node, 'button')[index];
    return act(async () => propsOf(button).onClick({ currentTarget: button }));
  };
  await type('{"sum": ');
  await press(0);
  await press(1);
  assert.deepEqual(done, []);
  await press(2);
  assert.deepEqual(done, [['deny', 'ap']]);
  await type('{"sum": 2}');
  await press(0);
  await press(1);
  assert.deepEqual(done.slice(1), [
    ['approve', 'ap', { arguments: { sum: 2 } }],
    ['approve', 'ap', { arguments: { sum: 2 }, remember: true }],
  ]);
  await leave();
});
