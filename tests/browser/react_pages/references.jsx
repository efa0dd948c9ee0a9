/**
 * The React examples of the documents that people know our hooks from, with other import names and
 * URLs; where a document leaves the drawing to the reader, it is drawn.
 */

import { useCallback, useEffect, useRef, useState } from 'react';
import { createClient as inference } from 'agent-gateway';
import {
  AgentChat,
  AgentChatProvider,
  string,
  tool,
  useAgentActions,
  useAgentChat,
} from 'agent-gateway/react';

// "the agent-sdk"

function MyChat() {
  return (
    <AgentChatProvider agentConfig={{ core_app_ref: 'infsh/claude-sonnet-4@abc123' }}>
      <ChatUI />
    </AgentChatProvider>
  );
}

function ChatUI() {
  const { messages, status, isGenerating } = useAgentChat();
  const { sendMessage, stopGeneration } = useAgentActions();

  // messages update in real-time as the agent responds
  // status shows: 'idle' | 'connecting' | 'streaming' | 'error'
  return (
    <div>
      <output>{status}</output>
      {messages.map((message) => (
        <p key={message.id} data-testid={message.role}>
          {message.content}
        </p>
      ))}
      {isGenerating && <button onClick={stopGeneration}>Stop</button>}
      <button onClick={() => sendMessage('Hello!')}>Send</button>
    </div>
  );
}

// "pre-built chat component"

function PreBuilt() {
  return (
    <AgentChat
      agentConfig={{
        core_app_ref: 'infsh/claude-opus-45@abc123',
        name: 'My Assistant',
      }}
    />
  );
}

// "client tools"

const scanUI = tool('scan_ui', 'Scan the current page')
  .input({ selector: string('CSS selector to scan') })
  .handler(async ({ selector }) => {
    const element = document.querySelector(selector);
    return JSON.stringify({ found: !!element });
  });

function ClientTools() {
  return <AgentChat agentConfig={{ tools: [scanUI] }} />;
}

// "React Progress Component"

function ProgressDisplay({ config }) {
  const [status, setStatus] = useState('idle');
  const [progress, setProgress] = useState(0);
  const [logs, setLogs] = useState([]);

  useEffect(() => {
    const client = inference({ proxyUrl: '/' });

    async function run() {
      const stream = await client.run(config, { stream: true });

      for await (const update of stream) {
        setStatus(update.status);

        if (update.progress) {
          setProgress((update.progress.current / update.progress.total) * 100);
        }

        if (update.logs) {
          setLogs((prev) => [...prev, ...update.logs]);
        }
      }
    }

    run();
  }, [config]);

  return (
    <div>
      <div>Status: {status}</div>
      <progress value={progress} max={100} />
      <ul>
        {logs.map((log, i) => (
          <li key={i}>{log}</li>
        ))}
      </ul>
    </div>
  );
}

const VIDEO = { app: 'google/veo-3-1-fast', input: { prompt: 'A sunset timelapse' } };

function ProgressPage() {
  return <ProgressDisplay config={VIDEO} />;
}

// "React Hook for Streaming"

function useStream() {
  const [state, setState] = useState({
    status: 'idle',
    output: null,
    logs: [],
    error: null,
  });

  const controllerRef = useRef(null);

  const run = useCallback(async (config) => {
    const client = inference({ proxyUrl: '/' });
    controllerRef.current = new AbortController();

    setState({ status: 'starting', output: null, logs: [], error: null });

    try {
      const stream = await client.run(config, {
        stream: true,
        signal: controllerRef.current.signal,
      });

      for await (const update of stream) {
        setState((prev) => ({
          ...prev,
          status: update.status,
          logs: update.logs ? [...prev.logs, ...update.logs] : prev.logs,
          output: update.output || prev.output,
        }));
      }
    } catch (e) {
      if (e.name !== 'AbortError') {
        setState((prev) => ({ ...prev, status: 'error', error: e.message }));
      }
    }
  }, []);

  const cancel = useCallback(() => {
    controllerRef.current?.abort();
  }, []);

  return { ...state, run, cancel };
}

function Generator() {
  const { status, output, logs, run, cancel } = useStream();

  return (
    <div>
      <button onClick={() => run({ app: 'infsh/flux-schnell', input: { prompt: 'A cat' } })}>
        Generate
      </button>
      <button onClick={cancel}>Cancel</button>
      <div>Status: {status}</div>
      <p data-testid="logs">{logs.join(', ')}</p>
      {output && <img src={output.url} alt="What was made" />}
    </div>
  );
}

export const references = {
  'agent-sdk': MyChat,
  'pre-built': PreBuilt,
  'client-tools': ClientTools,
  progress: ProgressPage,
  hook: Generator,
};
