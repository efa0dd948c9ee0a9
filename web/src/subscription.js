/**
 * One subscription's place in its session: cursor, gaps, acks (docs/protocol.md). No I/O.
 *
 * The cursor is (epoch, seq). An event is applied once: at or below the cursor it is dropped, and
 * a merged one that straddles the cursor, or a hole where the detail is dense (`full`), means
 * that the place is lost: subscribe again after the cursor. Until that is answered everything
 * that still comes from before is dropped.
 */

export const WINDOW = 512;
export const ACK_FRAMES = 32;
export const ACK_MS = 250;

/** The subscription is awaited as an answer to `hello`, which has no id. */
export const HELLO = Symbol('hello');

/** @typedef {'apply' | 'drop' | 'lost'} Verdict */

/** One session's cursor, for clients of one's own: dedupe, gaps, acks. */
export class Subscription {
  /**
   * @param {string} session
   * @param {import('./types.js').SubscriptionOptions} options
   * @param {string} [after] the `session.create` that must be sent before it
   */
  constructor(session, options, after) {
    this.session = session;
    this.options = options;
    this.after = after;
    /** @type {string | undefined} */
    this.epoch = undefined;
    this.seq = 0;
    /** @type {import('./types.js').Detail | undefined} */
    this.granted = undefined;
    /** @type {import('./types.js').Detail | undefined} the wish that `granted` answers */
    this.asked = undefined;
    /** @type {string | typeof HELLO | null} what answers the open request */
    this.awaiting = null;
    /** the answer to `hello` is to options that have changed since */
    this.outdated = false;
    this.unacked = 0;
    this.ackAt = Infinity;
    this.retryAt = Infinity;
    this.refusals = 0;
  }

  /** The fields of a request. */
  wish() {
    const place = this.epoch === undefined ? {} : { after: this.seq, epoch: this.epoch };
    return { session: this.session, ...place, ...this.options, window: WINDOW };
  }

  /**
   * It was asked for: what comes before the answer is from another place.
   * @param {string | typeof HELLO} awaiting
   */
  expect(awaiting) {
    this.awaiting = awaiting;
    this.retryAt = Infinity;
    this.unacked = 0;
    this.ackAt = Infinity;
  }

  /**
   * Take a `subscribed`; what it means for the state of the session.
   *
   * Without an id it answers `hello`, or is the news that the log's epoch changed. `lost`: it goes
   * on from a place, or in a detail, that is not ours any more; what follows it must not be folded
   * into the state we have.
   * @param {import('./types.js').AnyFrame} frame
   * @returns {'reset' | 'recovered' | 'ignored' | 'lost'}
   */
  subscribed(frame) {
    if (frame.id === undefined && this.outdated) {
      this.outdated = false;
      return frame.recovered ? 'recovered' : 'ignored';
    }
    if (frame.id !== undefined && frame.id !== this.awaiting) return 'ignored';
    if (frame.id !== undefined || this.awaiting === HELLO) {
      this.awaiting = null;
      this.outdated = false;
    }
    this.refusals = 0;
    if (frame.recovered && !this.#goesOn(frame)) {
      this.epoch = undefined;
      return 'lost';
    }
    this.granted = frame.detail;
    this.asked = this.options.detail;
    if (frame.recovered) return 'recovered';
    this.epoch = frame.epoch;
    this.seq = frame.seq;
    return 'reset';
  }

  /**
   * Whether what follows continues our state: our log, nothing between, our detail or one asked for.
   * @param {import('./types.js').AnyFrame} frame
   */
  #goesOn({ epoch, seq, detail }) {
    const wished = detail === this.granted || this.asked !== this.options.detail;
    return epoch === this.epoch && seq <= this.seq && wished;
  }

  /**
   * Other options, from the cursor on: another detail leaves what was seen as it is. Where tools
   * decide what is seen a new state is asked for.
   * @param {import('./types.js').SubscriptionOptions} options
   */
  change(options) {
    if (this.granted !== 'full' && !sameNames(options.tools, this.options.tools)) {
      this.epoch = undefined;
    }
    this.options = options;
  }

  /**
   * Judge an event, or a `cursor` frame, and move the cursor.
   * @param {{type: string, seq: number, from_seq?: number}} frame
   * @param {number} now
   * @returns {Verdict}
   */
  receive(frame, now) {
    if (this.awaiting !== null || this.epoch === undefined) return 'drop';
    const quiet = frame.type === 'cursor';
    if (!quiet) this.#count(now);
    if (frame.seq <= this.seq) return 'drop';
    const first = quiet ? frame.seq + 1 : (frame.from_seq ?? frame.seq);
    if (first <= this.seq) return 'lost';
    if (this.granted === 'full' && first > this.seq + 1) return 'lost';
    this.seq = frame.seq;
    return quiet ? 'drop' : 'apply';
  }

  /** @param {number} now */
  #count(now) {
    this.unacked += 1;
    this.ackAt = Math.min(this.ackAt, now + ACK_MS);
  }

  /**
   * The `ack` that is due, if one is.
   * @param {number} now
   * @returns {import('./types.js').AnyFrame | null}
   */
  ack(now) {
    if (this.unacked < ACK_FRAMES && now < this.ackAt) return null;
    this.unacked = 0;
    this.ackAt = Infinity;
    return { type: 'ack', session: this.session, seq: this.seq };
  }
}

/**
 * @param {string[]} [one]
 * @param {string[]} [other]
 */
function sameNames(one = [], other = []) {
  const names = new Set(one);
  return names.size === new Set(other).size && other.every((name) => names.has(name));
}
