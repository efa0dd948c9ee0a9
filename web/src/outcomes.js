/**
 * How the runs of a session ended: the state itself holds only the newest run. No I/O.
 */

const REMEMBERED = 256;

/** @typedef {import('./types.js').Run} Run */
/** @typedef {import('./types.js').SessionState} SessionState */
/** @typedef {{seq: number, epoch?: string}} Stored where a command was stored: `seq` counts in `epoch` */
/** @typedef {{run?: string} & Stored} Launched what `send` or `run` resolved with */

/** @param {Run} run */
export function hasEnded({ status }) {
  return status === 'completed' || status === 'failed' || status === 'cancelled';
}

/**
 * Whether what a command caused is in the state, or was: in another epoch it may be lost.
 * @param {Stored} stored
 * @param {SessionState} state
 */
export function reached({ seq, epoch }, state) {
  return state.seq >= seq || (epoch !== undefined && epoch !== state.epoch);
}

export class Outcomes {
  /** @type {Map<string, Run>} run id -> as it ended, the oldest first */
  #runs = new Map();

  /** @param {SessionState} state */
  note({ run }) {
    if (!run || !hasEnded(run) || this.#runs.get(run.id) === run) return;
    this.#runs.set(run.id, run);
    if (this.#runs.size > REMEMBERED) this.#runs.delete(this.#runs.keys().next().value ?? '');
  }

  /**
   * As it ended; null if it has not, or nobody saw it.
   * @param {Partial<Launched>} launched
   */
  of({ run }) {
    return this.#runs.get(run ?? '') ?? null;
  }

  /**
   * Whether nothing more comes of it.
   * @param {Launched} launched
   * @param {SessionState | null} state
   */
  isOver(launched, state) {
    const { run } = launched;
    if (!run || this.#runs.has(run)) return true;
    if (!state || !reached(launched, state)) return false;
    if (state.run?.id === run) return hasEnded(state.run);
    return !state.queue.some(({ id }) => id === run);
  }
}
