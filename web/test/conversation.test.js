/** Conversations with a real gateway: what a page does with `client.agent`. */

import assert from 'node:assert/strict';
import { before, test } from 'node:test';

import { string, tool } from '../src/index.js';
import { gateway, join, script } from './gateway.js';

/** @typedef {import('../src/client.js').GatewayClient} GatewayClient */

/** @type {GatewayClient} */
let client;

before(async () => {
  client = await join(await gateway());
});

const look = tool('look').describe('Looks').param('at', string('What'));
const CALL = { call_tool: { name: 'look', arguments: { at: 'h1' } } };

test('a reply is awaited whole', async () => {
  const agent = client.agent({ agent: 'echo' });
  const reply = await agent.sendMessage('Hello there');
  assert.deepEqual([reply.text, reply.done, reply.error], ['Hello there', true, null]);
  assert.equal(reply.run?.status, 'completed');
  assert.deepEqual(reply.userMessage?.parts, [{ kind: 'text', text: 'Hello there' }]);
  assert.equal(reply.assistantMessage?.role, 'assistant');
  assert.equal(agent.currentChatId, agent.session.id);
});

test('or watched as it grows, always with the whole text', async () => {
  const texts = [];
  const words = 'one two three four five six seven';
  const agent = client.agent('scripted');
  const said = script({ say: words, chunk: 4, interval_ms: 100 });
  for await (const { text, done } of agent.sendMessage(said, { stream: true })) {
    assert.ok(words.startsWith(text));
    texts.push(text);
    if (done) assert.equal(text, words);
  }
  assert.ok(texts.length > 1);
  assert.equal(texts.at(-1), words);
});

test('onMessage hears every kind of text, whole', async () => {
  /** @type {import('../src/whole.js').MessageUpdate[]} */
  const heard = [];
  const steps = script({ think: 'Hm. Right.' }, { commentary: 'Looking.' }, { say: 'Here it is.' });
  await client.agent('scripted').sendMessage(steps, { onMessage: (update) => heard.push(update) });
  const last = (/** @type {string} */ type) => heard.findLast((update) => update.type === type);
  assert.equal(last('thinking')?.content, 'Hm. Right.');
  assert.equal(last('commentary')?.content, 'Looking.');
  assert.equal(last('text')?.content, 'Here it is.');
  assert.equal(last('text')?.done, true);
});

test('a tool of the page runs by itself, and may return any JSON', async () => {
  const calls = /** @type {unknown[]} */ ([]);
  const seen = look.handler(({ args, at, signal, progress }) => {
    progress({ current: 1, total: 2 });
    assert.ok(!signal.aborted);
    return { found: args.at === at };
  });
  const agent = client.agent({ core_app_ref: 'scripted', tools: [seen] });
  const reply = await agent.sendMessage(script(CALL, { say: '{last}' }), {
    onToolCall: ({ name, args }) => calls.push([name, args]),
  });
  assert.equal(reply.text, '{"found":true}');
  assert.deepEqual(calls, [['look', { at: 'h1' }]]);
});

test('a call without a handler is answered by hand, an approval by a person', async () => {
  const agent = client.agent({ core_app: { ref: 'scripted' }, tools: [look.build()] });
  const steps = script(CALL, { say: '{last}' }, { approve: { title: 'More?' } }, { say: '{last}' });
  let reply = await agent.sendMessage(steps);
  assert.deepEqual([reply.done, reply.run?.status], [true, 'waiting']);
  const [call] = reply.pendingToolCalls;
  assert.deepEqual([call.name, call.arguments], ['look', { at: 'h1' }]);
  reply = await agent.submitToolResult(call.id, { seen: 7 });
  assert.match(reply.text, /^{"seen":7}/);
  const [approval] = reply.pendingApprovals;
  assert.equal(approval.title, 'More?');
  reply = await agent.deny(approval.id, { reason: 'no' });
  assert.match(reply.text, /"decision":"deny"/);
  assert.equal(reply.run?.status, 'completed');
});

test('a tool that needs approval runs after it', async () => {
  let runs = 0;
  const guarded = look.requireApproval().handler(() => ++runs);
  const agent = client.agent({ agent: 'scripted', tools: [guarded] });
  const reply = await agent.sendMessage(script(CALL, { say: '{last}' }));
  assert.equal(runs, 0);
  const done = await agent.approve(reply.pendingApprovals[0].id, { remember: true });
  assert.equal(done.text, '1');
  assert.deepEqual(agent.session.state?.remembered, ['look']);
});

test('onToolCall may answer, now or never', async () => {
  const agent = client.agent({ agent: 'scripted', tools: [look] });
  const answered = await agent.sendMessage(script(CALL, { say: '{last}' }), {
    onToolCall: async (call) => {
      await Promise.resolve();
      agent.submitToolResult(call.id, 'by hand');
    },
  });
  assert.equal(answered.text, '"by hand"');
  const left = await agent.sendMessage(script(CALL), { onToolCall() {} });
  assert.equal(left.pendingToolCalls.length, 1);
});

test('files go with messages and with results', async () => {
  const seen = look.handler(({ attach }) => {
    attach(new Blob(['<h1>'], { type: 'text/html' }));
    return 'see the file';
  });
  const agent = client.agent({ agent: 'scripted', tools: [seen] });
  const { userMessage } = await agent.sendMessage(script(CALL), {
    files: [new File(['hello'], 'hello.txt', { type: 'text/plain' })],
  });
  assert.deepEqual(userMessage?.parts[1], {
    kind: 'file',
    url: 'data:text/plain;base64,aGVsbG8=',
    media_type: 'text/plain',
    name: 'hello.txt',
  });
  const [call] = Object.values(agent.session.state?.calls ?? {});
  assert.deepEqual(call.files, [
    { kind: 'file', url: 'data:text/html;base64,PGgxPg==', media_type: 'text/html' },
  ]);
});

test('a failed run is a reply with an error; run() rejects', async () => {
  const agent = client.agent('scripted');
  const { error, done } = await agent.sendMessage(script({ fail: 'Out of luck' }));
  assert.deepEqual([done, error?.message], [true, 'Out of luck']);
  await assert.rejects(agent.run(script({ fail: 'Again' })), /Again/);
  assert.deepEqual(await agent.run(script({ output: { n: 1 } })), { n: 1 });
});

test('stop ends the run, an abort only the wait', async () => {
  const agent = client.agent('scripted');
  const controller = new AbortController();
  const long = agent.sendMessage(script({ sleep_ms: 60_000 }), { signal: controller.signal });
  await agent.session.waitUntil(({ run }) => run?.status === 'running');
  controller.abort();
  await assert.rejects(long, { name: 'AbortError' });
  assert.equal(agent.session.state?.run?.status, 'running');
  await assert.rejects(agent.sendMessage('x', { if_busy: 'enqueue', timeout_ms: 1 }), {
    name: 'TimeoutError',
  });
  const { run } = agent.session.state ?? {};
  assert.ok(run);
  await agent.stop();
  assert.equal((await agent.session.finished({ run: run.id, seq: run.seq }))?.status, 'cancelled');
});

test('a name that cannot be one; and an agent that there is not', async () => {
  await assert.rejects(client.agent('no name').sendMessage('Hi'), { code: 'frame.malformed' });
  assert.throws(() => client.agent({}), { code: 'client.usage' });
  const absent = client.agent('echoo').sendMessage('Hi');
  await assert.rejects(absent, { code: 'agent.not_found', message: /Did you mean "echo"/ });
});

test('reset begins another session', async () => {
  const agent = client.agent('echo');
  await agent.sendMessage('One');
  const first = agent.currentChatId;
  agent.reset();
  assert.equal(agent.currentChatId, null);
  await agent.sendMessage('Two');
  assert.notEqual(agent.currentChatId, first);
});

test('a callback that throws, and a session that is closed, end the wait', async () => {
  const agent = client.agent({ agent: 'scripted', tools: [look] });
  const broken = () => {
    throw new Error('mine');
  };
  await assert.rejects(agent.sendMessage(script({ say: 'x' }), { onMessage: broken }), /mine/);
  const asked = agent.sendMessage(script(CALL), { onToolCall: broken, if_busy: 'enqueue' });
  await assert.rejects(asked, /mine/);
  await agent.stop();
  const long = agent.sendMessage(script({ sleep_ms: 60_000 }), { if_busy: 'enqueue' });
  await agent.session.waitUntil(({ run }) => run?.status === 'running');
  agent.disconnect();
  await assert.rejects(long, { code: 'client.closed' });
  await assert.rejects(client.agent('echo').approve('a_none'), { name: 'GatewayError' });
});

test('a message that starts no run has no reply', async () => {
  const agent = client.agent('echo');
  await assert.rejects(agent.sendMessage('Hi', { start: false }), { code: 'client.usage' });
});
