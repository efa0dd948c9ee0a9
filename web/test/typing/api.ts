/** The public API as TypeScript sees it; compiled, never run. */

import {
  type Agent,
  GatewayClient,
  type RunStream,
  type Session,
  StreamManager,
  createClient,
  enumOf,
  offerPageTools,
  optional,
  string,
  tool,
} from 'agent-gateway';

const client: GatewayClient = createClient({ url: 'https://example.com', token: async () => 't' });
const status: 'connecting' | 'open' | 'resuming' | 'offline' | 'closed' = client.status;

const paint = tool('paint', 'Paints')
  .param('colour', enumOf(['red', 'blue']))
  .input({ colour: string('CSS'), alpha: optional(string()) })
  .requireApproval()
  .handler(async ({ args, signal, progress, attach, colour }) => {
    const stopped: boolean = signal.aborted;
    progress({ current: 1, total: 2 });
    attach(new Blob(['x']));
    return { args, colour, stopped };
  });

const agent: Agent = client.agent({
  core_app_ref: 'infsh/claude@abc',
  tools: [paint, paint.build()],
});

export async function talk(): Promise<string> {
  for await (const { text, done } of agent.sendMessage('Hi')) {
    const whole: string = text;
    if (done) return whole;
  }
  const reply = await agent.sendMessage('Hi', {
    onMessage: ({ type, content }) =>
      `${type satisfies 'text' | 'commentary' | 'thinking'}${content}`,
    onToolCall: async (call) => void agent.submitToolResult(call.id, call.args),
    signal: AbortSignal.timeout(1000),
    timeout_ms: 1000,
  });
  const [call] = reply.pendingToolCalls;
  const next = await agent.submitToolResult(call.id, { any: 'json' });
  return next.run?.status ?? status;
}

export async function work(): Promise<unknown> {
  const stream: RunStream = await client.run({ app: 'a', input: 1 }, { stream: true });
  for await (const update of stream) {
    const current: number | undefined = update.progress?.current;
    if (current && update.logs) return update.logs.join();
  }
  const { output } = await client.run({ app: 'a' }, { timeout_ms: 5 });
  return output;
}

export async function chat(session: Session): Promise<void> {
  const { message, seq } = await session.send('Hi', { if_busy: 'steer', files: [new Blob([])] });
  await session.finished({ run: message, seq });
  for await (const event of session) if (event.type === 'reset') break;
  for await (const { text } of session.updates()) text.toUpperCase();
  const { messages, more } = session.getSnapshot();
  if (more) await session.loadOlder({ limit: 10 });
  const leave: () => void = session.subscribe(() => messages.at(0)?.status === 'sending');
  leave();
  await offerPageTools(session);
  const stream = new StreamManager({ client, session: session.id, onData: ({ seq: n }) => n + 1 });
  await stream.connect();
  // @ts-expect-error: there is no such way to be busy
  await session.send('Hi', { if_busy: 'panic' });
  // @ts-expect-error: a tool's name is a text
  tool(1);
  // @ts-expect-error: the outcome is no stream
  for await (const _ of await client.run({ app: 'a' })) break;
}
