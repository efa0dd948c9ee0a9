/**
 * What a page asks of a session: the commands of a handle, and nothing of how it listens.
 *
 * Every one resolves with the gateway's `ok` and rejects with a `GatewayError`. `signal` and
 * `timeout_ms` end the wait for the answer, not the command.
 */

import { limited } from './abort.js';
import { GatewayError } from './errors.js';
import { contentOf, filePart, textParts } from './files.js';
import { unseen } from './outgoing.js';

/** @typedef {import('./types.js').AnyFrame} AnyFrame */
/** @typedef {import('./abort.js').Limits} Limits */
/** @typedef {import('./files.js').Content} Content */
/** @typedef {import('./files.js').FileLike} FileLike */
/** @typedef {import('./outgoing.js').Outgoing} Outgoing */
/** @typedef {'reject' | 'enqueue' | 'interrupt' | 'steer'} IfBusy */

/**
 * @typedef {object} SendFields
 * @property {readonly FileLike[]} [files] go with the content
 * @property {IfBusy} [if_busy]
 * @property {string} [message] a client-made id
 * @property {Record<string, unknown>} [metadata]
 * @property {boolean} [start]
 * @property {string} [after] drop the messages later than this one first
 */

/** @typedef {SendFields & Limits} SendOptions */

/** @typedef {Record<string, any> & {content: string | import('./types.js').Part[], message: string}} MessageFields */

/** @typedef {import('./outcomes.js').Stored} Stored */
/** @typedef {{type: 'ok', message: string, run?: string} & Stored & AnyFrame} Sent */
/** @typedef {{type: 'ok', run: string} & Stored & AnyFrame} Started */

/** @abstract */
export class SessionCommands {
  /** @type {readonly Outgoing[]} one's own messages, until the state has them */
  outgoing = [];

  /**
   * @param {string} id
   * @param {import('./session.js').SessionPort} port
   */
  constructor(id, port) {
    this.id = id;
    this.port = port;
    /** @type {import('./types.js').SessionState | null} */
    this.state = null;
  }

  /**
   * `outgoing` changed.
   * @abstract
   * @internal
   */
  notify() {
    throw new TypeError('abstract');
  }

  /**
   * Send a message; unless `start` is false the agent runs. It is shown at once, as `sending`.
   * @param {Content} content
   * @param {SendOptions} [options]
   * @returns {Promise<Sent>}
   */
  send(content, { files, signal, timeout_ms, ...fields } = {}) {
    const parts = contentOf(content, files);
    const message = fields.message ?? this.port.makeId('m');
    /** @param {string | import('./types.js').Part[]} read */
    const send = (read) => this.#post({ ...fields, content: read, message });
    const sent = parts instanceof Promise ? parts.then(send) : send(parts);
    return limited(sent, { signal, timeout_ms }, this.port.clock);
  }

  /**
   * Say something to the live run: it sees the message at its next step.
   * @param {Content} content
   * @param {SendOptions} [options]
   */
  steer(content, options = {}) {
    return this.send(content, { ...options, if_busy: 'steer' });
  }

  /**
   * Send a refused message again.
   * @param {string} message its id
   * @returns {Promise<Sent>}
   */
  resend(message) {
    const found = this.outgoing.find((one) => one.message.id === message);
    if (!found) return Promise.reject(unknown(message));
    return this.#post(found.fields);
  }

  /**
   * Take a refused message off the page.
   * @param {string} message its id
   */
  discard(message) {
    this.outgoing = this.outgoing.filter((one) => one.message.id !== message);
    this.notify();
  }

  /**
   * Take over the refused messages of a handle that is closed.
   * @param {SessionCommands} other
   * @internal
   */
  adopt(other) {
    for (const one of other.outgoing) if (one.message.status === 'refused') this.#show(one);
  }

  /**
   * Start a run without a message.
   * @param {unknown} [input] any JSON
   * @param {{if_busy?: IfBusy, after?: string} & Limits} [options]
   * @returns {Promise<Started>}
   */
  run(input, options = {}) {
    const given = input === undefined || input === null ? {} : { input };
    const started = this.#stored(this.command('run.start', { ...given, ...options }));
    return /** @type {Promise<Started>} */ (started);
  }

  /**
   * Another answer to the message before this one; what came later is gone.
   * @param {string} [message] id, default: the newest
   * @param {{if_busy?: IfBusy} & Limits} [options] default: `interrupt`
   */
  async regenerate(message, options = {}) {
    const messages = this.state?.messages ?? [];
    const at = message ? messages.findIndex(({ id }) => id === message) : messages.length - 1;
    const asked = messages.slice(0, at + 1).findLast(({ role }) => role === 'user');
    if (!asked) throw unknown(message ?? '');
    return this.run(undefined, { if_busy: 'interrupt', ...options, after: asked.id });
  }

  /**
   * Say it differently: the message and what came later is gone, and this takes its place.
   * The first message of a session cannot be edited: begin another session.
   * @param {string} message id
   * @param {Content} content
   * @param {SendOptions} [options]
   */
  async edit(message, content, options = {}) {
    const messages = this.state?.messages ?? [];
    const at = messages.findIndex(({ id }) => id === message);
    let after = messages[at - 1]?.id;
    if (at < 0) throw unknown(message);
    if (after === undefined && this.state?.more) {
      const page = await this.messages({ before: message, limit: 1 });
      after = page.messages.at(-1)?.id;
    }
    if (after === undefined) {
      throw new GatewayError('client.usage', 'The first message cannot be edited.');
    }
    return this.send(content, { if_busy: 'interrupt', ...options, after });
  }

  /**
   * Stop the live run, or that run; nothing of it comes afterwards.
   * @param {{run?: string, reason?: string} & Limits} [options]
   */
  stop(options = {}) {
    return this.command('run.interrupt', options);
  }

  /**
   * Agree.
   * @param {string} approval
   * @param {{arguments?: unknown, reason?: string, remember?: boolean} & Limits} [options]
   *   `arguments` if edited; `remember`: ask no more for this tool in this session
   */
  approve(approval, options = {}) {
    return this.command('approval.respond', { approval, decision: 'approve', ...options });
  }

  /**
   * Disagree; the agent hears that, and the reason.
   * @param {string} approval
   * @param {{reason?: string, remember?: boolean} & Limits} [options]
   */
  deny(approval, options = {}) {
    return this.command('approval.respond', { approval, decision: 'deny', ...options });
  }

  /**
   * Answer a call of a tool that has no handler here.
   * @param {string} call
   * @param {unknown} [output] any JSON
   * @param {{error?: import('./types.js').WireError, files?: readonly FileLike[]} & Limits} [options]
   */
  async submitToolResult(call, output, { files = [], ...options } = {}) {
    const parts = await Promise.all(files.map(filePart));
    return this.command('tool.result', {
      call,
      ...(output === undefined || output === null ? {} : { output }),
      ...(parts.length ? { files: parts } : {}),
      ...options,
    });
  }

  /**
   * Metadata is merged by key, where null deletes; tools are replaced.
   * @param {{tools?: readonly import('./types.js').Tool[], metadata?: Record<string, unknown>} & Limits} changes
   */
  update(changes) {
    return this.command('session.update', changes);
  }

  /**
   * Stop what runs and delete the session.
   * @param {Limits} [limits]
   */
  delete(limits = {}) {
    return this.command('session.delete', limits);
  }

  /**
   * Older messages than the state holds.
   * @param {{before?: string, limit?: number} & Limits} [page]
   * @returns {Promise<AnyFrame>} `ok {messages, more}`
   */
  messages(page = {}) {
    return this.command('session.messages', page);
  }

  /**
   * @param {string} type
   * @param {Record<string, unknown> & Limits} [fields]
   */
  command(type, { signal, timeout_ms, ...fields } = {}) {
    return this.port.command({ type, session: this.id, ...fields }, { signal, timeout_ms });
  }

  /**
   * @param {MessageFields} fields
   * @returns {Promise<Sent>}
   */
  async #post(fields) {
    const { content, message: id, metadata, after } = fields;
    /** @type {Outgoing['message']} */
    const message = {
      id,
      role: 'user',
      status: 'sending',
      time: '',
      parts: typeof content === 'string' ? textParts(content) : content,
      ...(metadata ? { metadata } : {}),
    };
    this.#show({ message, after, fields });
    try {
      const sent = /** @type {Sent} */ (await this.#stored(this.command('message.send', fields)));
      this.outgoing = this.outgoing.map((one) =>
        one.message.id === id ? { ...one, stored: sent } : one,
      );
      this.notify();
      return sent;
    } catch (error) {
      const refused = /** @type {GatewayError} */ (error);
      this.#show({ message: { ...message, status: 'refused', error: refused }, after, fields });
      throw error;
    }
  }

  /**
   * Its `ok`, with the epoch in which its seq counts.
   * @param {Promise<AnyFrame>} answered
   */
  async #stored(answered) {
    const ok = await answered;
    return { ...ok, epoch: this.state?.epoch };
  }

  /**
   * What the state shows is not under way any more.
   * @internal
   */
  tidy() {
    this.outgoing = unseen(this.outgoing, this.state);
  }

  /** @param {Outgoing} one */
  #show(one) {
    const { id } = one.message;
    this.outgoing = [...this.outgoing.filter(({ message }) => message.id !== id), one];
    this.notify();
  }
}

/** @param {string} message */
function unknown(message) {
  return new GatewayError('message.unknown', `There is no message ${message} here.`);
}
