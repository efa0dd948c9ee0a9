/**
 * Ids that a client makes: random, never counted (docs/protocol.md), of the alphabet the wire allows.
 *
 * `getRandomValues` and not `randomUUID`: the latter is missing on pages served without TLS.
 */

const ALPHABET = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_';

/** @typedef {(prefix: string) => string} MakeId */

/**
 * An id of 126 random bits after `prefix_`.
 * @type {MakeId}
 */
export function makeId(prefix) {
  const bytes = crypto.getRandomValues(new Uint8Array(21));
  return `${prefix}_${Array.from(bytes, (byte) => ALPHABET[byte & 63]).join('')}`;
}
