/** An escaped backslash, or half of a surrogate pair: `JSON.stringify` escapes only lone halves. */
const HALF = /(\\\\)|\\ud[89a-f][0-9a-f]{2}/g;

/**
 * A frame as text. Half a character (a text cut in the middle of an emoji) is no Unicode and would
 * be refused with the whole message: it becomes U+FFFD, as everywhere on the web.
 * @param {unknown} frame
 */
export function wireText(frame) {
  return JSON.stringify(frame).replace(HALF, (half, backslash) => (backslash ? half : '\ufffd'));
}
