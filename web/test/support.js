/** What the tests share: a clock that stands still, ids that count, a socket that is a value. */

/** @typedef {import('../src/types.js').AnyFrame} AnyFrame */

export class ManualClock {
  time = 0;
  #ids = 0;
  /** @type {Map<number, {at: number, callback: () => void}>} */
  #timers = new Map();

  now = () => this.time;

  /** @type {(callback: () => void, delay_ms: number) => number} */
  setTimeout = (callback, delay_ms) => {
    this.#timers.set(++this.#ids, { at: this.time + delay_ms, callback });
    return this.#ids;
  };

  /** @type {(timer: any) => void} */
  clearTimeout = (timer) => {
    this.#timers.delete(timer);
  };

  /**
   * Let time pass, timer by timer, with every promise settled in between.
   * @param {number} ms
   */
  async advance(ms) {
    const until = this.time + ms;
    for (;;) {
      await settled();
      const due = [...this.#timers].sort((a, b) => a[1].at - b[1].at || a[0] - b[0])[0];
      if (!due || due[1].at > until) break;
      this.time = Math.max(this.time, due[1].at);
      this.#timers.delete(due[0]);
      due[1].callback();
    }
    this.time = until;
  }
}

/** All promise callbacks that can run have run. */
export function settled() {
  return new Promise((resolve) => setImmediate(resolve));
}

/** @returns {import('../src/ids.js').MakeId} `k_1`, `k_2`, … */
export function counting() {
  let count = 0;
  return (prefix) => `${prefix}_${++count}`;
}

/**
 * @param {Record<string, any>} [fields]
 * @returns {import('../src/types.js').SessionState}
 */
export function stateOf(fields = {}) {
  return {
    session: 's_1',
    agent: 'scripted',
    epoch: 'e_1',
    seq: 1,
    metadata: {},
    tools: [],
    messages: [],
    more: false,
    run: null,
    queue: [],
    calls: {},
    approvals: {},
    remembered: [],
    custom: {},
    ...fields,
  };
}

/**
 * @param {number} seq
 * @param {string} type
 * @param {Record<string, any>} [fields]
 * @returns {import('../src/types.js').SessionEvent}
 */
export function event(seq, type, fields = {}) {
  return { type, session: 's_1', seq, time: '2026-01-01T00:00:00.000Z', ...fields };
}

/** @param {AnyFrame[]} frames */
export function lines(...frames) {
  return frames.map((frame) => JSON.stringify(frame)).join('\n');
}

/** @type {AnyFrame} */
export const WELCOME = {
  type: 'welcome',
  connection: 'x_1',
  client: 'tab_A',
  principal: { tenant: 'local', subject: 'dev' },
  heartbeat_ms: 25000,
  limits: { max_frame_bytes: 1048576, max_subscriptions: 64 },
  features: [],
  server: { name: 'agent-gateway', version: '0.1.0' },
};

/**
 * @param {Record<string, any>} [fields]
 * @returns {AnyFrame}
 */
export function subscribed(fields = {}) {
  const { seq = 1, recovered = false } = fields;
  return {
    type: 'subscribed',
    session: 's_1',
    epoch: 'e_1',
    seq,
    recovered,
    detail: 'full',
    ...(recovered ? {} : { state: stateOf({ seq }) }),
    ...fields,
  };
}
