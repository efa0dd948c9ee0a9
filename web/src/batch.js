/**
 * Merges many requests to draw into one call per animation frame.
 *
 * Hidden tabs get no animation frames, so a slow timer races with them; without
 * `requestAnimationFrame` (Node, workers) the timer is all there is.
 */

const FRAME_MS = 16;
const HIDDEN_MS = 250;

/**
 * @typedef {object} FrameSource
 * @property {import('./types.js').Clock} clock
 * @property {((callback: () => void) => any) | undefined} [requestFrame]
 * @property {((frame: any) => void) | undefined} [cancelFrame]
 */

/**
 * A function that asks for `callback` to be called once, soon, however often it is asked.
 * @param {() => void} callback
 * @param {FrameSource} source
 * @returns {() => void}
 */
export function batched(callback, { clock, requestFrame, cancelFrame }) {
  /** @type {{frame: any, timer: any} | null} */
  let asked = null;
  const run = () => {
    if (!asked) return;
    clock.clearTimeout(asked.timer);
    if (asked.frame !== undefined) cancelFrame?.(asked.frame);
    asked = null;
    callback();
  };
  return () => {
    if (asked) return;
    asked = { frame: undefined, timer: clock.setTimeout(run, requestFrame ? HIDDEN_MS : FRAME_MS) };
    asked.frame = requestFrame?.(run);
  };
}
