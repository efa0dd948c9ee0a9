/** What goes into the connection machine and what comes out of it, as values: types alone. */

/** @typedef {import('./types.js').AnyFrame} AnyFrame */
/** @typedef {import('./types.js').Status} Status */

/**
 * @typedef {{type: 'start'} | {type: 'stop'} | {type: 'tick'} | {type: 'hint'}
 *   | {type: 'online', online: boolean}
 *   | {type: 'opened', socket: number, token?: string}
 *   | {type: 'text', socket: number, text: string}
 *   | {type: 'closed', socket: number, code: number, reason: string}
 *   | {type: 'command', frame: AnyFrame}
 *   | {type: 'subscribe', session: string, options: import('./types.js').SubscriptionOptions, after?: string}
 *   | {type: 'unsubscribe', session: string}} Input
 */

/**
 * @typedef {{type: 'connect', socket: number}
 *   | {type: 'send', socket: number, text: string}
 *   | {type: 'close', socket: number}
 *   | {type: 'refresh'}
 *   | {type: 'welcome', frame: AnyFrame}
 *   | {type: 'status', status: Status, retryAt: number | null, code: number, reason: string}
 *   | {type: 'answer', id: string, frame: AnyFrame}
 *   | {type: 'event', session: string, event: import('./types.js').SessionEvent}
 *   | {type: 'reset', session: string, state: import('./types.js').SessionState, detail: import('./types.js').Detail}
 *   | {type: 'recovered', session: string, detail: import('./types.js').Detail | undefined}
 *   | {type: 'refused', session: string, frame: AnyFrame}
 *   | {type: 'problem', frame: AnyFrame}} Effect
 */

export {};
