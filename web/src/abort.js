/**
 * Giving up a wait: what an `AbortSignal` and `timeout_ms` do to whoever waits.
 *
 * They end the wait, not the work: a command that was sent is still carried out.
 */

/**
 * @typedef {object} Limits
 * @property {AbortSignal} [signal] rejects with its reason, by default an `AbortError`
 * @property {number} [timeout_ms] rejects with a `TimeoutError`
 */

/**
 * One signal for both limits; `release` it when the wait is over.
 * @param {Limits} limits
 * @param {import('./types.js').Clock} clock
 * @returns {{signal: AbortSignal | undefined, release: () => void}}
 */
export function deadline({ signal, timeout_ms }, clock) {
  if (timeout_ms === undefined) return { signal, release() {} };
  const controller = new AbortController();
  const timer = clock.setTimeout(() => {
    controller.abort(new DOMException(`No answer within ${timeout_ms} ms.`, 'TimeoutError'));
  }, timeout_ms);
  const abort = () => controller.abort(signal?.reason);
  if (signal?.aborted) abort();
  signal?.addEventListener('abort', abort);
  const release = () => {
    clock.clearTimeout(timer);
    signal?.removeEventListener('abort', abort);
  };
  return { signal: controller.signal, release };
}

/**
 * Calls back when the signal is aborted, at once if it is already.
 * @param {AbortSignal | undefined} signal
 * @param {(reason: unknown) => void} callback
 * @returns {() => void} stops it
 */
export function onAbort(signal, callback) {
  const abort = () => callback(signal?.reason);
  if (signal?.aborted) abort();
  else signal?.addEventListener('abort', abort);
  return () => signal?.removeEventListener('abort', abort);
}

/**
 * Settles as the promise does, or rejects when a limit is reached first.
 * @template T
 * @param {Promise<T>} promise
 * @param {Limits} limits
 * @param {import('./types.js').Clock} clock
 * @returns {Promise<T>}
 */
export async function limited(promise, limits, clock) {
  const { signal, release } = deadline(limits, clock);
  /** @type {() => void} */
  let leave = () => {};
  try {
    if (!signal) return await promise;
    const aborted = new Promise((_, reject) => {
      leave = onAbort(signal, reject);
    });
    return /** @type {T} */ (await Promise.race([promise, aborted]));
  } finally {
    leave();
    release();
  }
}
