/** Pages with the component, and with the hooks alone. */

import { useEffect, useState } from 'react';
import { createPortal } from 'react-dom';
import {
  AgentChat,
  AgentChatProvider,
  string,
  tool,
  useAgentActions,
  useAgentChat,
  useAgentClient,
  useRun,
  useStream,
} from 'agent-gateway/react';

/** One chat, told by the query. */
function Solo({ query }) {
  const [count, setCount] = useState(0);
  const add = tool('add', 'Adds to the number on this page')
    .param('text', string('What to add'))
    .requireApproval()
    .handler(({ args, progress }) => {
      progress({ current: 1, total: 2 });
      setCount(count + 1);
      return { text: args.text, count: count + 1 };
    });
  return (
    <AgentChatProvider
      agent={query.get('agent') ?? 'scripted'}
      tools={[add]}
      persist="solo"
      onTurnEnd={(chat) => (window.lab.turn = chat.run?.status)}
    >
      <Probe />
      <main>
        <h1 style={{ margin: 0, font: '14px/24px system-ui' }}>Count: {count}</h1>
        <AgentChat
          title={query.get('title') ?? 'Scripted'}
          theme={query.get('theme') ?? 'auto'}
          suggestions={['Say hello', 'Say goodbye']}
          style={{ '--agw-height': 'calc(100dvh - 24px)', '--agw-radius': 0 }}
        />
      </main>
    </AgentChatProvider>
  );
}

function Probe() {
  const client = useAgentClient();
  useEffect(() => void (window.lab.client = client), [client]);
  return null;
}

/** Two chats that know nothing of each other. */
function Two() {
  return (
    <main style={{ display: 'flex', gap: 8 }}>
      <AgentChat agent="scripted" title="Left" />
      <AgentChat agent="echo" title="Right" />
    </main>
  );
}

/** The hooks alone. */
function Hooks() {
  return (
    <AgentChatProvider
      agent="scripted"
      tools={[tool('manual').param('text', string())]}
      onError={(error) => (window.lab.error = error.message)}
      onStatusChange={(status) => (window.lab.statuses ??= []).push(status)}
      onChatCreated={(id) => (window.lab.created = id)}
    >
      <HandMade />
      <Buttons />
    </AgentChatProvider>
  );
}

function HandMade() {
  const chat = useAgentChat();
  window.lab.chat = chat;
  return (
    <div>
      <output data-testid="status">{chat.status}</output>
      {chat.error && <p data-testid="error">{chat.error}</p>}
      {chat.messages.map((message) => (
        <p key={message.id} data-testid={message.role}>
          {message.content}
        </p>
      ))}
    </div>
  );
}

function Buttons() {
  const actions = useAgentActions();
  window.lab.actions = actions;
  window.lab.buttons = (window.lab.buttons ?? 0) + 1;
  return <button onClick={() => actions.stopGeneration()}>Stop</button>;
}

/** A chat under a shadow root, which has styles of its own. */
function Shadow() {
  const [root, setRoot] = useState(null);
  return (
    <div ref={(node) => node && setRoot(node.shadowRoot ?? node.attachShadow({ mode: 'open' }))}>
      {root && createPortal(<AgentChat agent="echo" title="Within" theme="dark" />, root)}
    </div>
  );
}

/** A chat whose page has more to offer after a while. */
function Tools() {
  const [more, setMore] = useState(false);
  const first = tool('first', 'Always there').handler(() => (more ? 'first, later' : 'first'));
  const second = tool('second', 'There later').handler(() => 'second');
  return (
    <main>
      <button onClick={() => setMore(true)}>Offer more</button>
      <AgentChat agent="scripted" title="Tools" tools={more ? [first, second] : [first]} />
    </main>
  );
}

/** Runs without a conversation. */
function Runs() {
  const script = JSON.stringify([
    { activity: 'preparing' },
    { progress: [1, 2] },
    { log: 'one' },
    { log: 'two' },
    { output: { half: true } },
    { say: 'Said.' },
    { output: { whole: true } },
  ]);
  const first = useRun({ app: 'scripted', input: script });
  const second = useStream();
  window.lab.runs = { first, second };
  return (
    <div>
      <p data-testid="first">{`${first.status} ${JSON.stringify(first.output)}`}</p>
      <p data-testid="second">{`${second.status} ${second.text}`}</p>
      <button
        onClick={() =>
          second.run({
            app: 'scripted',
            input: JSON.stringify([{ say: 'word '.repeat(2000), chunk: 5, interval_ms: 20 }]),
          })
        }
      >
        Run
      </button>
      <button onClick={second.cancel}>Cancel</button>
    </div>
  );
}

export const pages = {
  solo: Solo,
  two: Two,
  hooks: Hooks,
  runs: Runs,
  shadow: Shadow,
  tools: Tools,
};
