/**
 * When to try again, and whether at all: pure functions of the close code and the attempt.
 *
 * Full jitter (a random moment below a doubling ceiling), so that the clients of a lost replica
 * don't come back together. The close-code ranges are the contract (docs/protocol.md).
 */

export const BASE_MS = 500;
export const CAP_MS = 30_000;
export const OVERLOADED_MS = 5_000;

const OVERLOADED = new Set([1013, 4479, 4480]);

/**
 * Whether a client must not come back by itself after this close code.
 * @param {number} code
 */
export function isFinal(code) {
  return code >= 4400 && code <= 4449;
}

/**
 * Milliseconds to wait before attempt number `attempt` (1 is the first after a loss).
 * @param {number} attempt
 * @param {number} code the close code that ended the last try
 * @param {() => number} random in [0, 1)
 */
export function delay(attempt, code, random) {
  const ceiling = Math.min(CAP_MS, BASE_MS * 2 ** (attempt - 1));
  return (OVERLOADED.has(code) ? OVERLOADED_MS : 0) + Math.floor(random() * ceiling);
}
