/** One session on the screen: its title, what was said, what is going on, where to write. */

import { activityOf } from '/client/words.js';
import { activity } from './activity.js';
import { announcer } from './announcer.js';
import { composer } from './composer.js';
import { attrs, h, write } from './dom.js';
import { follow } from './follow.js';
import { greeting } from './greeting.js';
import { icon } from './icons.js';
import { agentOf } from './suggestions.js';
import { editableTitle } from './title.js';
import { itemsOf, transcript } from './transcript.js';

const TITLE_CHARS = 48;

/** @typedef {import('/client/session.js').Session} Session */
/** @typedef {import('/client/types.js').SessionState} SessionState */
/** @typedef {import('/client/types.js').Progress} Progress */

/**
 * @typedef {object} PaneOptions
 * @property {import('/client/client.js').GatewayClient} client
 * @property {readonly import('/client/tools.js').ClientTool[]} tools
 * @property {string} [session] an existing one; without it the first message creates one
 * @property {(pane: Pane) => void} onClose
 * @property {(pane: Pane) => void} onChange its title, session or liveness is another
 */

export class Pane {
  /** @type {Session | null} */
  session = null;
  title = 'New session';
  live = false;
  #agent = '';
  /** @type {Map<string, Progress>} by call id */
  #progress = new Map();
  /** @type {(() => void)[]} */
  #leave = [];

  /** @param {PaneOptions} options */
  constructor(options) {
    this.options = options;
    this.key = options.session ?? options.client.makeId('s');
    this.transcript = transcript({
      approve: (approval, how) => this.#answer(this.session?.approve(approval.id, how)),
      deny: (approval) => this.#answer(this.session?.deny(approval.id)),
    });
    this.activity = activity((run) => void this.#try(this.session?.stop({ run })));
    this.composer = composer({
      send: (text, label) => this.#send(text, label),
      stop: () => this.stop(),
    });
    this.announcer = announcer();
    this.heading = editableTitle(`title-${this.key}`, (title) => this.#rename(title));
    this.greeting = greeting(this.key, (agent) => this.#choose(agent));
    this.agentLabel = h('span', { class: 'agent' });
    this.problem = h('p', {
      class: 'problem',
      test: 'problem',
      attrs: { role: 'alert' },
    });
    this.sessionButtons = [
      button('pencil', 'Rename session', 'rename', () => this.heading.edit()),
      button('trash', 'Delete session', 'delete', () => void this.#delete()),
    ];
    this.node = this.#build();
    if (options.session) this.#attach(options.session).open();
    this.update();
  }

  #build() {
    const log = h(
      'div',
      // The announcer speaks for it: a log read aloud token by token is of no use to anybody.
      {
        class: 'log',
        attrs: {
          role: 'log',
          'aria-live': 'off',
          tabindex: 0,
          'aria-label': 'Messages',
        },
      },
      this.greeting,
      this.transcript.node,
    );
    const latest = follow(log);
    this.#leave.push(latest.stop);
    const close = button('close', 'Close pane', 'close', () => this.close());
    const onEscape = (/** @type {KeyboardEvent} */ event) => {
      if (event.key === 'Escape' && this.live) this.stop();
    };
    return h(
      'section',
      {
        class: 'pane',
        test: 'pane',
        attrs: { 'aria-labelledby': `title-${this.key}` },
        on: { keydown: onEscape },
      },
      h(
        'header',
        { class: 'pane-head' },
        this.heading.node,
        this.agentLabel,
        ...this.sessionButtons,
        close,
      ),
      h('div', { class: 'log-frame' }, log, latest.button),
      this.activity.node,
      this.problem,
      this.composer.node,
      this.announcer.node,
    );
  }

  /** @param {string} agent */
  #choose(agent) {
    if (agent === this.#agent) return;
    this.#agent = agent;
    this.composer.suggest(agentOf(agent)?.suggestions ?? []);
  }

  /** @param {string} id */
  #attach(id) {
    const { client, tools } = this.options;
    const metadata = { title: this.title };
    const session = client.session(id, {
      agent: this.#agent,
      tools,
      detail: 'full',
      metadata,
    });
    this.session = session;
    this.#leave.push(
      session.subscribe(() => this.update()),
      session.onEvent((event) => {
        if (event.type !== 'tool_call.progress') return;
        const { call, current, total, text } = event;
        this.#progress.set(call, { current, total, text });
      }),
    );
    return session;
  }

  /**
   * @param {string} text
   * @param {string} [label]
   */
  async #send(text, label) {
    return this.#try(
      this.session ? this.session.send(text, { if_busy: 'enqueue' }) : this.#begin(text, label),
    );
  }

  /**
   * Creation, subscription and message go out together: nobody waits for an answer first.
   * @param {string} text
   * @param {string} [label]
   */
  async #begin(text, label) {
    this.title = label ?? titleOf(text);
    const session = this.#attach(this.key);
    const done = Promise.all([session.create(), session.send(text)]);
    this.update();
    await done;
  }

  stop() {
    void this.#try(this.session?.stop({ reason: 'The person pressed Stop.' }));
    this.composer.focus();
  }

  /** Take it off the screen; the session goes on. */
  close() {
    for (const leave of this.#leave) leave();
    this.session?.close();
    this.node.remove();
    this.options.onClose(this);
  }

  focus() {
    this.composer.focus();
  }

  update() {
    const { session } = this;
    const state = session?.state ?? null;
    this.title = String(state?.metadata.title ?? this.title);
    this.live = state !== null && activityOf(state) !== '';
    this.heading.update(this.title);
    this.greeting.hidden = session !== null;
    for (const one of this.sessionButtons) one.hidden = !state;
    this.composer.update({
      live: this.live,
      writable: session?.status !== 'closed',
      placeholder: this.live ? 'Write ahead: it is sent next' : 'Message the agent',
    });
    const run = state?.run?.status;
    attrs(this.node, {
      'data-session': session?.id,
      'data-run': run,
      'data-live': `${this.live}`,
    });
    if (state) this.#show(state);
    if (session?.error) this.#complain(session.error);
    this.options.onChange(this);
  }

  /** @param {SessionState} state */
  #show(state) {
    write(this.agentLabel, state.agent);
    this.transcript.update(itemsOf(state, this.#progress));
    this.activity.update(state);
    this.announcer.update(state);
    this.#choose(state.agent);
  }

  /** @param {string} title */
  #rename(title) {
    void this.#try(this.session?.update({ metadata: { title } }));
    this.composer.focus();
  }

  async #delete() {
    if (!confirm(`Delete “${this.title}” for good?`)) return;
    if (await this.#try(this.session?.delete())) this.close();
  }

  /** @param {Promise<unknown> | undefined} answer */
  async #answer(answer) {
    await answer;
    this.composer.focus();
  }

  /** @param {Promise<unknown> | undefined} command */
  async #try(command) {
    try {
      write(this.problem, '');
      await command;
      return true;
    } catch (error) {
      this.#complain(error);
      return false;
    }
  }

  /** @param {unknown} error */
  #complain(error) {
    const { code, message } = /** @type {{code?: string, message: string}} */ (error);
    // Pressing Stop on a run that has just ended is no news.
    if (code !== 'run.not_active') write(this.problem, message);
  }
}

/**
 * What a session is called after its first message.
 * @param {string} text
 */
function titleOf(text) {
  const line = text.trim().startsWith('[{') ? 'Script' : text.split('\n')[0];
  return line.length > TITLE_CHARS ? `${line.slice(0, TITLE_CHARS - 1)}…` : line;
}

/**
 * @param {Parameters<typeof icon>[0]} name
 * @param {string} label
 * @param {string} test
 * @param {() => void} click
 */
function button(name, label, test, click) {
  const attrs = { type: 'button', 'aria-label': label, title: label };
  return h('button', { class: 'icon-button', test, attrs, on: { click } }, icon(name));
}
