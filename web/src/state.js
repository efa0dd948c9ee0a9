/**
 * The fold: a session's state from its events (docs/protocol.md). No I/O, no clock.
 *
 * The twin of `protocol/state.py`, held to the same golden vectors. States are never changed in
 * place: what an event does not touch keeps its identity, so a page can compare with `===`.
 * An event of a message, call or run that the state lacks changes nothing but `seq`.
 */

import {
  keepMessages,
  moved,
  pick,
  placed,
  resumed,
  settled,
  trimmed,
  withCall,
  withLiveRun,
  withMessage,
  withRun,
  without,
} from './revise.js';

/** @typedef {import('./types.js').SessionState} SessionState */
/** @typedef {import('./types.js').SessionEvent} SessionEvent */
/** @typedef {import('./types.js').Message} Message */
/** @typedef {import('./types.js').Run} Run */
/** @typedef {import('./types.js').Call} Call */
/** @typedef {(state: SessionState, event: SessionEvent) => SessionState} Reducer */

/**
 * The state before the first event.
 * @param {string} [session]
 * @returns {SessionState}
 */
export function emptyState(session = '') {
  return {
    session,
    agent: '',
    epoch: '',
    seq: 0,
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
  };
}

/**
 * The state after one event; unknown event types only move `seq`.
 * @param {SessionState | null} state
 * @param {SessionEvent} event
 * @returns {SessionState}
 */
export function apply(state, event) {
  const before = state ?? emptyState(event.session);
  const reducer = Object.hasOwn(REDUCERS, event.type) ? REDUCERS[event.type] : undefined;
  const after = reducer ? reducer(before, event) : before;
  return { ...after, seq: event.seq };
}

/**
 * The state after events.
 * @param {SessionState | null} state
 * @param {Iterable<SessionEvent>} events
 * @returns {SessionState | null}
 */
export function fold(state, events) {
  let folded = state;
  for (const event of events) folded = apply(folded, event);
  return folded;
}

/**
 * @param {'completed' | 'failed' | 'cancelled'} status
 * @param {string[]} fields
 * @returns {Reducer}
 */
function ends(status, ...fields) {
  return (state, event) => {
    const queue = state.queue.filter((run) => run.id !== event.run);
    const rest = queue.length < state.queue.length ? { ...state, queue } : state;
    return withLiveRun(rest, event.run, (run) =>
      moved(without(run, ...fields), status, pick(event, ...fields)),
    );
  };
}

/** @type {Reducer} */
function attempted(state, event) {
  return withLiveRun(state, event.run, (run) => moved(run, 'running', { attempt: event.attempt }));
}

/** @type {Record<string, Reducer>} */
const SESSION = {
  'session.created': (state, event) => ({
    ...state,
    session: event.session,
    agent: event.agent,
    metadata: event.metadata ?? {},
    tools: event.tools ?? [],
  }),
  'session.updated': (state, event) => ({ ...state, ...pick(event, 'metadata', 'tools') }),
  'session.rewound': (state, event) => {
    // A message that the state lacks is older than all it has: everything here came later.
    const last = state.messages.findIndex((message) => message.id === event.after);
    return keepMessages(state, (_, index) => index <= last);
  },
  custom: (state, event) =>
    event.keep ? { ...state, custom: { ...state.custom, [event.name]: event.value } } : state,
};

/** @type {Record<string, Reducer>} */
const MESSAGES = {
  'message.added': (state, event) => ({
    ...state,
    messages: [
      ...state.messages,
      /** @type {Message} */ ({
        id: event.message,
        role: event.role,
        status: 'complete',
        time: event.time,
        parts: trimmed(event.parts.slice()),
        ...pick(event, 'run', 'by', 'metadata'),
      }),
    ],
  }),
  'message.started': (state, event) => ({
    ...resumed(state, event.run),
    messages: [
      ...state.messages,
      {
        id: event.message,
        role: 'assistant',
        status: 'open',
        time: event.time,
        parts: [],
        run: event.run,
      },
    ],
  }),
  'message.delta': (state, event) =>
    withMessage(state, event.message, (message) => ({
      ...message,
      parts: placed(message.parts, event.part, (part) => ({
        kind: event.kind,
        text:
          part?.kind === event.kind ? /** @type {any} */ (part).text + event.delta : event.delta,
      })),
    })),
  'message.part': (state, event) =>
    withMessage(state, event.message, (message) => ({
      ...message,
      parts: placed(message.parts, event.part, () => event.content),
    })),
  'message.completed': (state, event) =>
    event.status === 'discarded'
      ? keepMessages(state, (message) => message.id !== event.message)
      : withMessage(state, event.message, (message) => ({
          ...message,
          status: event.status,
          ...pick(event, 'usage'),
        })),
};

/** @type {Record<string, Reducer>} */
const RUNS = {
  'run.queued': (state, event) => ({
    ...state,
    queue: [
      ...state.queue,
      {
        id: event.run,
        status: 'queued',
        attempt: 0,
        seq: event.seq,
        ...pick(event, 'client', 'input', 'trigger', 'by', 'metadata'),
        ...(event.content ? { content: trimmed(event.content.slice()) } : {}),
      },
    ],
  }),
  'run.started': (state, event) => {
    const queued = state.queue.find((run) => run.id === event.run) ?? {
      id: event.run,
      status: 'queued',
      attempt: 0,
      seq: event.seq,
    };
    const run = moved(without(queued, 'content', 'by', 'metadata'), 'running', { attempt: 1 });
    return { ...state, run, queue: state.queue.filter((other) => other !== queued) };
  },
  'run.retrying': attempted,
  'run.resumed': attempted,
  'run.waiting': (state, event) =>
    withLiveRun(state, event.run, (run) => moved(run, 'waiting', { on: event.on })),
  'run.completed': ends('completed', 'output', 'finish_reason', 'usage'),
  'run.failed': ends('failed', 'error'),
  'run.cancelled': ends('cancelled'),
  'run.child': (state, event) => resumed(state, event.run),
  'run.activity': (state, event) =>
    withRun(state, event.run, (run) => ({ ...run, activity: event.activity })),
  'run.progress': (state, event) =>
    withRun(state, event.run, (run) => ({
      ...run,
      progress: pick(event, 'current', 'total', 'text'),
    })),
  'run.output': (state, event) =>
    withRun(state, event.run, (run) => ({ ...without(run, 'output'), ...pick(event, 'output') })),
};

/** @type {Record<string, Reducer>} */
const CALLS = {
  'tool_call.started': (state, event) => {
    const message = state.messages.findLast((candidate) => candidate.id === event.message);
    if (!message) return state;
    /** @type {Call} */
    const call = {
      id: event.call,
      run: message.run ?? '',
      message: event.message,
      name: event.name,
      target: event.target,
      arguments: '',
      status: 'streaming',
    };
    const placedState = withMessage(state, event.message, (open) => ({
      ...open,
      parts: placed(open.parts, event.part, () => ({ kind: 'tool_call', call: event.call })),
    }));
    return { ...placedState, calls: { ...state.calls, [event.call]: call } };
  },
  'tool_call.delta': (state, event) =>
    withCall(state, event.call, (call) =>
      call.status === 'streaming' ? { ...call, arguments: call.arguments + event.delta } : call,
    ),
  'tool_call.requested': (state, event) => {
    const requested = withCall(state, event.call, (call) => ({
      ...without(call, 'client', 'deadline', 'lease_ms'),
      status: 'requested',
      arguments: event.arguments ?? null,
      ...pick(event, 'client', 'deadline', 'lease_ms'),
    }));
    return event.target === 'server' ? resumed(requested, event.run) : requested;
  },
  'tool_call.claimed': (state, event) =>
    withCall(state, event.call, (call) => ({
      ...call,
      status: 'claimed',
      client: event.client,
      ...pick(event, 'lease_until'),
    })),
  'tool_call.released': (state, event) =>
    withCall(state, event.call, (call) => ({
      // Nobody held it, so nobody is preferred; after a lost lease `client` is the last holder.
      ...(event.reason === 'unclaimed' ? without(call, 'client') : call),
      status: 'requested',
    })),
  'tool_call.completed': (state, event) =>
    settled(
      withCall(state, event.call, (call) => ({
        ...without(call, 'output', 'error', 'files'),
        status: 'completed',
        ...pick(event, 'output', 'error', 'files'),
      })),
      event.call,
    ),
};

/** @type {Record<string, Reducer>} */
const APPROVALS = {
  'approval.requested': (state, event) => ({
    ...state,
    approvals: {
      ...state.approvals,
      [event.approval]: /** @type {import('./types.js').Approval} */ ({
        id: event.approval,
        ...pick(event, 'run', 'call', 'title', 'arguments', 'deadline'),
      }),
    },
  }),
  'approval.resolved': (state, event) => {
    if (!Object.hasOwn(state.approvals, event.approval)) return settled(state, event.approval);
    const approval = state.approvals[event.approval];
    const resolved = {
      ...without(approval, 'reason', 'by'),
      ...pick(event, 'decision', 'arguments', 'reason', 'by'),
    };
    // Of a call's approval the title is the tool's name.
    const news = event.remember && approval.call && !state.remembered.includes(approval.title);
    const remembered = news ? [...state.remembered, approval.title] : state.remembered;
    const approvals = { ...state.approvals, [event.approval]: resolved };
    return settled({ ...state, approvals, remembered }, event.approval);
  },
};

const REDUCERS = { ...SESSION, ...MESSAGES, ...RUNS, ...CALLS, ...APPROVALS };
