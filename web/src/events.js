/**
 * The events of a session as an async iterator that a slow reader cannot make grow without end.
 *
 * At most MAX_BUFFERED wait for a reader; then they are dropped, and a `reset` with the state takes
 * their place, as it does when the gateway no longer has the events.
 */

import { Mailbox } from './mailbox.js';

export const MAX_BUFFERED = 10_000;

/** @typedef {import('./types.js').SessionState} SessionState */
/** @typedef {{type: 'reset', state: SessionState}} Reset */
/** @typedef {import('./types.js').SessionEvent | Reset} Item */

/** @extends {Mailbox<Item>} */
export class EventStream extends Mailbox {
  /**
   * @param {import('./types.js').SessionEvent} event
   * @param {SessionState} state after it
   */
  put(event, state) {
    if (this.items.length < MAX_BUFFERED) this.add(event);
    else this.reset(state);
  }

  /** @param {SessionState} state */
  reset(state) {
    this.items = [];
    this.add({ type: 'reset', state });
  }
}
