/**
 * The wire and the session state as JSDoc types; nothing here exists at run time.
 *
 * The names are those of docs/protocol.md. A field with `?` is there only when it has a value.
 * An event is kept as a loose record: unknown event types must pass (they advance the cursor).
 */

/** @typedef {{code: string, message: string}} WireError */

/**
 * @typedef {object} Frame a frame of either direction
 * @property {string} type
 * @property {string} [id]
 * @property {string} [session]
 */

/** @typedef {Frame & {[field: string]: any}} AnyFrame */

/** @typedef {{type: string, session: string, seq: number, time: string, from_seq?: number} & {[field: string]: any}} SessionEvent */

/** @typedef {{current?: number, total?: number, text?: string}} Progress */

/** @typedef {{input_tokens: number, output_tokens: number}} Usage */

/**
 * @typedef {{kind: 'text' | 'commentary' | 'thinking', text: string}
 *   | {kind: 'tool_call', call: string}
 *   | {kind: 'file', url: string, media_type: string, name?: string}
 *   | {kind: 'source', url: string, title?: string}
 *   | {kind: 'data', name: string, value: unknown}
 *   | {kind: 'hidden'}} Part
 */

/**
 * @typedef {object} Message
 * @property {string} id
 * @property {'user' | 'assistant' | 'system'} role
 * @property {'open' | 'complete' | 'interrupted' | 'failed'} status
 * @property {string} time
 * @property {readonly Part[]} parts
 * @property {string} [run]
 * @property {string} [by]
 * @property {Record<string, unknown>} [metadata]
 * @property {Usage} [usage]
 */

/**
 * @typedef {object} Run
 * @property {string} id
 * @property {'queued' | 'running' | 'waiting' | 'completed' | 'failed' | 'cancelled'} status
 * @property {number} attempt
 * @property {number} seq of its `run.queued`
 * @property {string} [trigger]
 * @property {string} [client]
 * @property {unknown} [input]
 * @property {readonly Part[]} [content] only while queued, as `by` and `metadata`
 * @property {string} [by]
 * @property {Record<string, unknown>} [metadata]
 * @property {readonly string[]} [on]
 * @property {string} [activity]
 * @property {Progress} [progress]
 * @property {unknown} [output]
 * @property {string} [finish_reason]
 * @property {WireError} [error]
 * @property {Usage} [usage]
 */

/**
 * @typedef {object} Call
 * @property {string} id
 * @property {string} run
 * @property {string} message
 * @property {string} name
 * @property {'client' | 'server'} target
 * @property {any} arguments the JSON text so far while `streaming`
 * @property {'streaming' | 'requested' | 'claimed' | 'completed'} status
 * @property {string} [client]
 * @property {number} [lease_ms]
 * @property {string} [lease_until]
 * @property {string} [deadline]
 * @property {unknown} [output]
 * @property {WireError} [error]
 * @property {readonly Part[]} [files]
 */

/**
 * @typedef {object} Approval
 * @property {string} id
 * @property {string} run
 * @property {string} [call]
 * @property {string} title
 * @property {unknown} [arguments]
 * @property {string} deadline
 * @property {'approve' | 'deny' | 'expired' | 'cancelled'} [decision]
 * @property {string} [reason]
 * @property {string} [by]
 */

/**
 * @typedef {object} Tool
 * @property {string} name
 * @property {string} [description]
 * @property {Record<string, unknown>} parameters JSON Schema
 * @property {boolean} [approval]
 * @property {number} [lease_ms]
 * @property {number} [timeout_ms]
 * @property {boolean} [idempotent]
 */

/**
 * @typedef {object} SessionState
 * @property {string} session
 * @property {string} agent
 * @property {string} epoch
 * @property {number} seq
 * @property {Readonly<Record<string, unknown>>} metadata
 * @property {readonly Tool[]} tools
 * @property {readonly Message[]} messages
 * @property {boolean} more
 * @property {Run | null} run
 * @property {readonly Run[]} queue
 * @property {Readonly<Record<string, Call>>} calls
 * @property {Readonly<Record<string, Approval>>} approvals
 * @property {readonly string[]} remembered
 * @property {Readonly<Record<string, unknown>>} custom
 */

/** @typedef {'answer' | 'steps' | 'full'} Detail */

/**
 * @typedef {object} SubscriptionOptions
 * @property {Detail} [detail] default: the most that is granted
 * @property {string[]} [tools] names of the tools this tab executes
 * @property {number} [messages] how many of the newest the state holds
 */

/** @typedef {'connecting' | 'open' | 'resuming' | 'offline' | 'closed'} Status */

/**
 * @typedef {object} Clock
 * @property {() => number} now milliseconds, never going back
 * @property {(callback: () => void, delay_ms: number) => any} setTimeout
 * @property {(timer: any) => void} clearTimeout
 */

export {};
