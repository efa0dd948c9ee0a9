/**
 * Programs as people know them from the SDKs of others, against our gateway: only the import names
 * and the URLs are ours. `inference` is what those SDKs call `createClient`.
 */

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { WebSocket } from 'ws';

import { createClient, string, tool } from '../src/index.js';
import { gateway } from './gateway.js';

const config = { app: 'google/veo-3-1-fast', input: { prompt: 'A sunset timelapse' } };

/** @type {string[]} */
const printed = [];
const written = { text: '' };
const console = { log: (/** @type {unknown[]} */ ...words) => printed.push(words.join(' ')) };
const process = { stdout: { write: (/** @type {string} */ text) => (written.text += text) } };

/** @type {string} */
let url;
/** @type {import('../src/client.js').GatewayClient} */
let client;
/** @type {import('../src/client.js').GatewayClient[]} */
const clients = [];

/** @param {import('../src/client.js').ClientOptions} options */
function inference(options) {
  const made = createClient(options);
  clients.push(made);
  return made;
}

before(async () => {
  // Browsers, and Node from version 22 on, have one of their own.
  globalThis.WebSocket ??= /** @type {any} */ (WebSocket);
  url = await gateway();
  client = inference({ apiKey: 'inf_...', baseUrl: url });
});
after(() => clients.forEach((one) => one.close()));

/** What was printed since the last look. */
function output() {
  return printed.splice(0);
}

test('basic streaming', async () => {
  const client = inference({ apiKey: 'inf_...', baseUrl: url });

  const stream = await client.run(
    { app: 'google/veo-3-1-fast', input: { prompt: 'A sunset timelapse' } },
    { stream: true },
  );

  for await (const update of stream) {
    console.log(`Status: ${update.status}`);
  }

  const lines = output();
  assert.deepEqual([lines[0], lines.at(-1)], ['Status: queued', 'Status: completed']);
});

test('handling different update types', async () => {
  const stream = await client.run(config, { stream: true });

  for await (const update of stream) {
    const { status } = update;

    // Task state changes
    if (status === 'queued') {
      console.log('Task queued, waiting for worker...');
    } else if (status === 'running') {
      console.log('Task is running...');
    } else if (status === 'completed') {
      console.log('Done!');
      console.log('Output:', update.output);
    } else if (status === 'failed') {
      console.log('Error:', update.error);
    }

    // Progress logs
    if (update.logs?.length) {
      for (const log of update.logs) {
        console.log(`  Log: ${log}`);
      }
    }

    // Partial outputs
    if (update.partial_output) {
      console.log(`  Partial: ${update.partial_output}`);
    }
  }

  const lines = output();
  assert.equal(lines[0], 'Task queued, waiting for worker...');
  for (const line of ['Task is running...', '  Log: step 1', '  Log: step 3', 'Done!']) {
    assert.ok(lines.includes(line), line);
  }
  assert.ok(lines.some((line) => line.startsWith('  Partial: ')));
});

test('a progress bar', async () => {
  /** @param {number} current @param {number} total */
  function progressBar(current, total, width = 50) {
    const filled = Math.round((width * current) / total);
    const bar = '█'.repeat(filled) + '░'.repeat(width - filled);
    const percent = ((current / total) * 100).toFixed(1);
    process.stdout.write(`\r[${bar}] ${percent}%`);
  }

  const stream = await client.run(config, { stream: true });

  for await (const update of stream) {
    if (update.progress) {
      progressBar(update.progress.current, update.progress.total ?? 0);
    }
    if (update.status === 'completed') {
      console.log('\n✓ Complete!');
    }
  }

  assert.deepEqual(output(), ['\n✓ Complete!']);
  assert.match(written.text, /33\.3%.*66\.7%.*100\.0%/s);
});

test('streaming with a timeout', async () => {
  /** @param {import('../src/run.js').Task} config @param {number} timeoutMs @returns {Promise<any>} */
  async function streamWithTimeout(config, timeoutMs) {
    const client = inference({ apiKey: 'inf_...', baseUrl: url });
    const start = Date.now();

    const stream = await client.run(config, { stream: true });

    for await (const update of stream) {
      if (Date.now() - start > timeoutMs) {
        console.log('Timeout reached');
        break;
      }

      console.log(`Status: ${update.status}`);

      if (['completed', 'failed'].includes(update.status)) {
        return update;
      }
    }
  }

  const result = await streamWithTimeout(config, 60000); // 1 minute

  assert.equal(result?.status, 'completed');
  output();
  assert.equal(await streamWithTimeout(config, -1), undefined);
  assert.deepEqual(output(), ['Timeout reached']);
});

test('agent streaming', async () => {
  /** @param {string} name @param {{query: string}} args */
  const executeTool = async (name, args) => `${name}: ${args.query}`;
  written.text = '';

  const agent = client.agent('my-org/assistant@latest');

  const response = await agent.sendMessage('Explain quantum entanglement', {
    onMessage: (msg) => {
      if (msg.content) {
        // Stream text as it arrives
        process.stdout.write(msg.content);
      }
      if (msg.type === 'thinking') {
        console.log(`\n[Thinking: ${msg.content}]`);
      }
    },
    onToolCall: async (call) => {
      console.log(`\n[Calling tool: ${call.name}]`);
      const result = await executeTool(call.name, call.args);
      agent.submitToolResult(call.id, result);
    },
  });

  const said = 'They say: search: Explain quantum entanglement.';
  assert.equal(response.text, said);
  assert.ok(written.text.endsWith(said));
  const lines = output();
  assert.ok(lines.includes('\n[Thinking: What does the page know?]'));
  assert.ok(lines.includes('\n[Calling tool: search]'));
});

test('multiple streams in parallel', async () => {
  async function parallelStreams() {
    const client = inference({ apiKey: 'inf_...', baseUrl: url });

    const configs = [
      { app: 'infsh/flux-schnell', input: { prompt: 'A mountain' } },
      { app: 'infsh/flux-schnell', input: { prompt: 'An ocean' } },
      { app: 'infsh/flux-schnell', input: { prompt: 'A forest' } },
    ];

    /** @param {import('../src/run.js').Task} config @param {number} index @returns {Promise<any>} */
    async function streamOne(config, index) {
      const stream = await client.run(config, { stream: true });

      for await (const update of stream) {
        console.log(`[${index}] ${update.status}`);

        if (update.status === 'completed') {
          return update.output;
        }
      }
    }

    const results = await Promise.all(configs.map((c, i) => streamOne(c, i)));

    return results;
  }

  const results = /** @type {{prompt: string}[]} */ (await parallelStreams());
  assert.deepEqual(
    results.map(({ prompt }) => prompt),
    ['A mountain', 'An ocean', 'A forest'],
  );
  const lines = output();
  for (const index of [0, 1, 2]) assert.ok(lines.includes(`[${index}] completed`));
});

test('cancelling a stream', async () => {
  /** @param {import('../src/run.js').Task} config */
  async function cancellableStream(config) {
    const controller = new AbortController();

    // Cancel after 10 seconds
    setTimeout(() => controller.abort(), 100);

    try {
      const stream = await client.run(config, {
        stream: true,
        signal: controller.signal,
      });

      for await (const update of stream) {
        console.log(update.status);
      }
    } catch (e) {
      if (/** @type {Error} */ (e).name === 'AbortError') {
        console.log('Stream cancelled');
      } else {
        throw e;
      }
    }
  }

  await cancellableStream({ app: 'stuck' });
  assert.equal(output().at(-1), 'Stream cancelled');
});

test('collecting all logs', async () => {
  /** @param {import('../src/run.js').Task} config @returns {Promise<any>} */
  async function collectLogs(config) {
    /** @type {string[]} */
    const allLogs = [];

    const stream = await client.run(config, { stream: true });

    for await (const update of stream) {
      if (update.logs) {
        allLogs.push(...update.logs);
      }

      if (update.status === 'completed') {
        console.log('Final logs:');
        allLogs.forEach((log) => console.log(`  ${log}`));
        return update.output;
      }
    }
  }

  assert.ok(await collectLogs(config));
  assert.deepEqual(output(), ['Final logs:', '  step 1', '  step 2', '  step 3']);
});

test('a stream processor of one’s own', async () => {
  class StreamProcessor {
    /** @type {string[]} */
    logs = [];
    /** @type {number | undefined} */
    startTime;
    /** @type {number | undefined} */
    endTime;

    /** @param {import('../src/run.js').Update} update */
    process(update) {
      if (!this.startTime) {
        this.startTime = Date.now();
      }

      if (update.logs) {
        this.logs.push(...update.logs);
      }

      if (['completed', 'failed'].includes(update.status)) {
        this.endTime = Date.now();
        return true; // Done
      }

      return false; // Continue
    }

    get duration() {
      if (this.startTime && this.endTime) {
        return this.endTime - this.startTime;
      }
      return null;
    }
  }

  // Usage
  const processor = new StreamProcessor();
  const stream = await client.run(config, { stream: true });

  for await (const update of stream) {
    if (processor.process(update)) {
      break;
    }
  }

  console.log(`Duration: ${processor.duration}ms`);
  console.log(`Logs: ${processor.logs.length}`);

  const [duration, logs] = output();
  assert.match(duration, /^Duration: \d+ms$/);
  assert.equal(logs, 'Logs: 3');
});

test('client tools', async () => {
  const document = { querySelector: (/** @type {string} */ selector) => selector === 'h1' };

  const scanUI = tool('scan_ui', 'Scan the current page')
    .input({ selector: string('CSS selector to scan') })
    .handler(async ({ selector }) => {
      const element = document.querySelector(selector);
      return JSON.stringify({ found: !!element });
    });

  const agent = client.agent({ core_app_ref: 'scripted', tools: [scanUI] });
  const steps = [{ call_tool: { name: 'scan_ui', arguments: { selector: 'h1' } } }];
  const { text } = await agent.sendMessage(JSON.stringify([...steps, { say: '{last}' }]));
  assert.equal(JSON.parse(text), '{"found":true}');
});
