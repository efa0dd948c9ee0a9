/** The real clock, and waiting by any clock; tests bring their own. */

/** @type {import('./types.js').Clock} */
export const realClock = {
  now: () => performance.now(),
  setTimeout: (callback, delay_ms) => setTimeout(callback, delay_ms),
  clearTimeout: (timer) => clearTimeout(timer),
};

/**
 * Resolves after `delay_ms`, or at once when the signal is aborted or there is nothing to wait.
 * @param {import('./types.js').Clock} clock
 * @param {number} delay_ms
 * @param {AbortSignal} signal
 * @returns {Promise<void>}
 */
export function wait(clock, delay_ms, signal) {
  return new Promise((resolve) => {
    if (signal.aborted || delay_ms <= 0) return resolve();
    const done = () => {
      clock.clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = clock.setTimeout(done, delay_ms);
    signal.addEventListener('abort', done);
  });
}
