/**
 * The pages of older messages that were loaded before those of the state. No I/O.
 *
 * They hold only as long as the state begins where they end.
 */

/** @typedef {import('./types.js').Message} Message */
/** @typedef {import('./types.js').SessionState} SessionState */

export class Older {
  /** @type {readonly Message[]} */
  messages = [];
  /** @type {boolean | null} whether there are still older ones; null: as the state says */
  #more = null;
  /** @type {string | undefined} the state's first message when they were loaded */
  #joint;

  /** @param {SessionState | null} state */
  more(state) {
    return this.#more ?? state?.more ?? false;
  }

  /**
   * The message that the next page ends before; undefined: the page is the newest one.
   * @param {SessionState | null} state
   */
  before(state) {
    return (this.messages[0] ?? state?.messages[0])?.id;
  }

  /**
   * @param {{messages: readonly Message[], more: boolean}} page
   * @param {string | undefined} before where it was asked for
   * @param {SessionState | null} state
   */
  add(page, before, state) {
    if (this.before(state) !== before) return;
    this.messages = [...page.messages, ...this.messages];
    this.#more = page.more;
    this.#joint = state?.messages[0]?.id;
  }

  /** @param {SessionState} state the newer one */
  keep(state) {
    const [first] = state.messages;
    if (this.#more === null || first?.id === this.#joint) return;
    // Where the state had no message its first one comes after the newest page.
    const next = this.#joint === undefined && state.messages.length === 1;
    if (next && !this.messages.some(({ id }) => id === first.id)) {
      this.#joint = first.id;
      return;
    }
    this.messages = [];
    this.#more = null;
    this.#joint = undefined;
  }
}
