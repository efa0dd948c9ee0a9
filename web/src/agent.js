/**
 * A conversation as most SDKs have it: send a message, watch the whole answer grow.
 *
 * One agent object is one session, opened at the first message. Built on `Session` alone.
 */

import { deadline, limited } from './abort.js';
import { GatewayError } from './errors.js';
import { Mailbox } from './mailbox.js';
import { reached } from './outcomes.js';
import { Turn } from './turn.js';

/** @typedef {import('./session.js').Session} Session */
/** @typedef {import('./turn.js').Reply} Reply */
/** @typedef {import('./turn.js').Callbacks} Callbacks */
/** @typedef {import('./commands.js').Sent} Sent */
/** @typedef {import('./abort.js').Limits} Limits */
/** @typedef {import('./client.js').GatewayClient} GatewayClient */

/**
 * @typedef {object} AgentConfig
 * @property {string} [agent] its name at the gateway
 * @property {string} [core_app_ref] the same
 * @property {{ref: string}} [core_app] the same
 * @property {readonly import('./tool.js').ToolLike[]} [tools] what this page executes
 * @property {string} [session] id of the session to take up; without it a new one
 * @property {Record<string, unknown>} [metadata] of a new session
 * @property {string} [name] the title of a new session
 * @property {import('./types.js').Detail} [detail]
 */

/** @typedef {import('./commands.js').SendOptions & Callbacks & {stream?: boolean}} MessageOptions */

/** @typedef {Promise<Reply> & AsyncIterable<Reply>} Growing await the finished one, or iterate */

/**
 * The name of an agent and the options of its session, however they are spelled.
 * @param {string | AgentConfig} config
 */
export function configured(config) {
  const given = typeof config === 'string' ? { agent: config } : config;
  const { core_app_ref, core_app, agent = core_app_ref ?? core_app?.ref, name } = given;
  if (!agent) throw new GatewayError('client.usage', 'The configuration names no agent.');
  const { tools, session, detail } = given;
  const metadata = name ? { title: name, ...given.metadata } : given.metadata;
  return { session, options: { agent, tools, anyTool: !tools, detail, metadata } };
}

/** A conversation with one agent; made by `client.agent(…)`. */
export class Agent {
  /** @type {Session | null} */
  #session = null;
  /** @type {Promise<unknown>} */
  #created = Promise.resolve();
  /** @type {(import('./outcomes.js').Launched & {message?: string, run: string}) | null} */
  #current = null;
  /** @type {Set<string>} calls whose result is under way */
  #answered = new Set();

  /**
   * @param {GatewayClient} client
   * @param {string | AgentConfig} config
   */
  constructor(client, config) {
    this.client = client;
    this.config = configured(config);
  }

  /** The session behind it, opened now if it was not. */
  get session() {
    if (this.#session && this.#session.status !== 'closed') return this.#session;
    const session = this.client.session(this.config.session, this.config.options);
    this.#session = session;
    if (session.status === 'idle') {
      this.#created = session.create();
      this.#created.catch(() => {});
    }
    return session;
  }

  /** Id of the session; null before the first message. */
  get currentChatId() {
    return this.#session?.id ?? null;
  }

  /**
   * Send a message. Await the finished reply, or iterate over growing ones:
   *
   *     const reply = await agent.sendMessage('Hello');
   *     for await (const { text } of agent.sendMessage('Tell me a story')) show(text);
   *
   * `signal` and `timeout_ms` end the wait; `stop()` ends the run.
   * @param {import('./files.js').Content} content
   * @param {MessageOptions} [options]
   * @returns {Growing}
   */
  sendMessage(content, options = {}) {
    const { onMessage, onToolCall, onReply, stream: _, signal, timeout_ms, ...fields } = options;
    const limits = { signal, timeout_ms };
    return growing((put) => {
      /** @param {Reply} reply */
      const both = (reply) => {
        put(reply);
        onReply?.(reply);
      };
      return this.#send(content, fields, limits, { onMessage, onToolCall, onReply: both });
    });
  }

  /**
   * Send a message and resolve with what the run put out; rejects when it failed.
   * @param {import('./files.js').Content} content
   * @param {MessageOptions} [options]
   */
  async run(content, options) {
    const { error, run } = await this.sendMessage(content, options);
    if (error) throw error;
    return run?.output ?? null;
  }

  /**
   * Answer a pending call; resolves with the reply that the run comes to then.
   * @param {string} call
   * @param {unknown} [output] any JSON
   * @param {Parameters<Session['submitToolResult']>[2]} [options]
   * @returns {Promise<Reply>}
   */
  submitToolResult(call, output, options = {}) {
    this.#answered.add(call);
    const submitted = this.session.submitToolResult(call, output, options);
    submitted.catch(() => this.#answered.delete(call));
    return this.#goOn(submitted, options, call);
  }

  /**
   * Agree.
   * @param {string} approval
   * @param {Parameters<Session['approve']>[1]} [options]
   * @returns {Promise<Reply>} the one that the run comes to then
   */
  approve(approval, options = {}) {
    return this.#goOn(this.session.approve(approval, options), options);
  }

  /**
   * Disagree; the agent hears that, and the reason.
   * @param {string} approval
   * @param {Parameters<Session['deny']>[1]} [options]
   * @returns {Promise<Reply>} the one that the run comes to then
   */
  deny(approval, options = {}) {
    return this.#goOn(this.session.deny(approval, options), options);
  }

  /**
   * Stop the live run; nothing of it comes afterwards.
   * @param {Parameters<Session['stop']>[0]} [options]
   */
  async stop(options) {
    await this.session.stop(options);
  }

  /** The same, as others call it. */
  stopChat() {
    return this.stop();
  }

  /** Begin anew: the next message starts another session. */
  reset() {
    this.disconnect();
    this.#current = null;
    this.config = { ...this.config, session: undefined };
  }

  /** Stop listening; the session and its run live on. */
  disconnect() {
    this.#session?.close();
    this.#session = null;
  }

  /**
   * @param {import('./files.js').Content} content
   * @param {import('./commands.js').SendFields} fields
   * @param {Limits} limits
   * @param {Callbacks} callbacks
   */
  async #send(content, fields, limits, callbacks) {
    const { session } = this;
    const created = this.#created;
    const { signal, release } = deadline(limits, this.client.clock);
    try {
      const sending = session.send(content, { ...fields, signal });
      sending.catch(() => {});
      await limited(created, { signal }, this.client.clock);
      const sent = await sending;
      const { run } = sent;
      if (!run) throw new GatewayError('client.usage', 'The message started no run.');
      this.#current = { ...sent, run };
      return await new Turn(session, this.#current, callbacks, this.#answered).follow(signal);
    } finally {
      release();
    }
  }

  /**
   * @param {Promise<import('./types.js').AnyFrame>} answered
   * @param {Limits} limits
   * @param {string} [call] whose result it is
   * @returns {Promise<Reply>}
   */
  #goOn(answered, limits, call) {
    const { session } = this;
    const launched = this.#current;
    const { signal, release } = deadline(limits, this.client.clock);
    const follow = async () => {
      try {
        const { seq } = await answered;
        const { epoch } = session.state ?? {};
        if (!launched) throw new GatewayError('client.usage', 'Nothing was sent yet.');
        await session.waitUntil((state) => reached({ seq, epoch }, state), { signal });
        if (call) this.#answered.delete(call);
        return await new Turn(session, launched, {}, this.#answered).follow(signal);
      } finally {
        release();
      }
    };
    const reply = follow();
    // Whoever only answers, inside `onToolCall` say, hears of a failure from `sendMessage`.
    reply.catch(() => {});
    return reply;
  }
}

/**
 * A promise of the last value that is also an iterator over all; a slow reader gets the newest.
 * @param {(put: (reply: Reply) => void) => Promise<Reply>} begin
 * @returns {Growing}
 */
function growing(begin) {
  /** @type {Mailbox<Reply>} */
  const mailbox = new Mailbox();
  const reply = begin((newer) => {
    mailbox.items = [];
    mailbox.add(newer);
  });
  reply.then(
    () => mailbox.end(),
    (error) => mailbox.end(error),
  );
  return Object.assign(reply, {
    [Symbol.asyncIterator]() {
      return mailbox;
    },
  });
}
