/** A whole chat: what was said, what goes on, where to write. Good to look at as it is. */

import {
  createElement as h,
  useCallback,
  useContext,
  useEffect,
  useId,
  useRef,
  useState,
} from 'react';
import { isVisible, newsOf } from '../words.js';
import { ApprovalCard } from './calls.js';
import { Composer } from './composer.js';
import { IconButton, ProgressBar } from './elements.js';
import { useFollow } from './follow.js';
import { MessageView } from './message.js';
import { AgentChatContext, AgentChatProvider, useAgentActions, useAgentChat } from './provider.js';
import { adopt } from './styles.js';

/** @typedef {import('./chat.js').ChatSnapshot} ChatSnapshot */
/** @typedef {import('./chat.js').ChatMessage} ChatMessage */
/** @typedef {import('../types.js').Approval} Approval */

/**
 * @typedef {object} AgentChatLook
 * @property {string} [title] default: the name of the `agentConfig`
 * @property {import('react').ReactNode} [greeting] before the first message
 * @property {readonly string[]} [suggestions] first messages to choose from
 * @property {string} [placeholder]
 * @property {'light' | 'dark' | 'auto'} [theme] default: as the page, or the system, prefers
 * @property {boolean} [attachments] files may be sent
 * @property {boolean} [autoFocus]
 * @property {string} [className]
 * @property {import('react').CSSProperties} [style]
 */

/** @typedef {AgentChatLook & import('./config.js').ChatConfig & import('./chat.js').Callbacks} AgentChatProps */

const CONFIG = [
  'client',
  'url',
  'token',
  'agent',
  'agentConfig',
  'tools',
  'session',
  'chatId',
  'persist',
];

/**
 * The chat component. Under an `<AgentChatProvider>`, and told nothing of an agent, it shows that
 * conversation; else it has one of its own.
 * @param {AgentChatProps} props
 */
export function AgentChat(props) {
  const around = useContext(AgentChatContext);
  const { title, greeting, suggestions, placeholder, theme, attachments, autoFocus, ...rest } =
    props;
  const { className, style, ...config } = rest;
  const look = {
    greeting,
    suggestions,
    placeholder,
    theme,
    attachments,
    autoFocus,
    className,
    style,
  };
  const view = h(ChatView, { title: title ?? props.agentConfig?.name ?? 'Assistant', ...look });
  const given = /** @type {Record<string, unknown>} */ (config);
  if (around && !CONFIG.some((name) => given[name] !== undefined)) return view;
  return h(AgentChatProvider, config, view);
}

/** @param {AgentChatLook & {title: string}} look */
function ChatView({ title, theme = 'auto', className = '', style, ...look }) {
  const chat = useAgentChat();
  const actions = useAgentActions();
  const { log, away, toEnd } = useFollow();
  const name = useId();
  const styled = useCallback((/** @type {Element | null} */ node) => node && adopt(node), []);
  const { isGenerating, messages } = chat;
  const { greeting = 'How can I help?', suggestions = [], placeholder = 'Write a message' } = look;
  const began = chat.chatId !== null && (messages.length > 0 || isGenerating || !chat.state);
  return h(
    'section',
    {
      ref: /** @type {any} */ (styled),
      className: `agw ${className}`,
      style,
      'aria-labelledby': name,
      'data-theme': theme,
      'data-status': chat.status,
      onKeyDown: (/** @type {any} */ event) => {
        if (event.key === 'Escape' && isGenerating) void actions.stopGeneration();
      },
    },
    h(
      'header',
      { className: 'agw-head' },
      h('h2', { id: name }, title),
      h(IconButton, {
        name: 'plus',
        label: 'New chat',
        disabled: !messages.length,
        onClick: actions.reset,
      }),
    ),
    h(Banner, { status: chat.connectionStatus }),
    h(
      'div',
      { className: 'agw-frame' },
      h(
        'div',
        {
          ref: log,
          className: 'agw-log',
          // The live region below speaks for it: a log read token by token is of no use to anybody.
          role: 'log',
          'aria-live': 'off',
          'aria-label': 'Messages',
          'aria-busy': isGenerating,
          tabIndex: 0,
        },
        h(
          'div',
          { className: 'agw-list' },
          began ? h(Transcript, chat) : h(Greeting, { greeting, suggestions }),
          h(Doing, chat),
        ),
      ),
      away &&
        h(IconButton, { name: 'down', label: 'To the newest', look: 'agw-latest', onClick: toEnd }),
    ),
    h(Composer, {
      generating: isGenerating,
      attachments: look.attachments ?? true,
      placeholder,
      autoFocus: look.autoFocus ?? false,
      onSend: toEnd,
    }),
    h(Announcer, chat),
  );
}

/** @param {{greeting: import('react').ReactNode, suggestions: readonly string[]}} props */
function Greeting({ greeting, suggestions }) {
  const { sendMessage } = useAgentActions();
  return h(
    'div',
    { className: 'agw-greeting' },
    h('p', null, greeting),
    suggestions.map((text) =>
      h(
        'button',
        {
          key: text,
          type: 'button',
          className: 'agw-button',
          onClick: () => void sendMessage(text),
        },
        text,
      ),
    ),
  );
}

/** @param {ChatSnapshot} chat */
function Transcript({ messages, state, progress, run, isGenerating, hasOlderMessages }) {
  const { loadOlderMessages } = useAgentActions();
  const approvals = state?.approvals ?? {};
  const calls = state?.calls ?? {};
  /** @type {Map<string, Approval>} */
  const ofCalls = new Map();
  /** @type {Approval[]} */
  const loose = [];
  for (const approval of Object.values(approvals)) {
    if (approval.call !== undefined && calls[approval.call]) ofCalls.set(approval.call, approval);
    else loose.push(approval);
  }
  const visible = messages.filter(
    ({ parts, status }) => status === 'open' || parts.some(isVisible),
  );
  const lastOf = new Map(visible.map(({ run: of }, index) => [of, index]));
  const asked = (/** @type {string | undefined} */ of) =>
    loose
      .filter((approval) => approval.run === of)
      .map((approval) => h(ApprovalCard, { key: approval.id, approval }));
  const about = { calls, approvals: ofCalls, progress };
  return [
    hasOlderMessages &&
      h(
        'button',
        {
          key: 'older',
          type: 'button',
          className: 'agw-button agw-older',
          onClick: () => void loadOlderMessages(),
        },
        'Older messages',
      ),
    ...visible.flatMap((message, index) => {
      const last = lastOf.get(message.run) === index;
      const offers = offersOf(message, index, last, index === visible.length - 1, isGenerating);
      const view = h(MessageView, { key: message.id, message, offers, ...about });
      return last ? [view, ...asked(message.run)] : [view];
    }),
    ...(run && !lastOf.has(run.id) ? asked(run.id) : []),
  ];
}

/** @type {readonly import('./message.js').Offer[]} */
const NOTHING = [];
/** @type {Record<string, readonly import('./message.js').Offer[]>} the same lists at every draw */
const OFFERS = {
  copy: ['copy'],
  mine: ['copy', 'edit'],
  newest: ['copy', 'regenerate'],
};

/**
 * @param {ChatMessage} message
 * @param {number} index
 * @param {boolean} last of its run
 * @param {boolean} newest of all
 * @param {boolean} isGenerating
 */
function offersOf({ role, status }, index, last, newest, isGenerating) {
  if (status === 'sending' || status === 'queued' || status === 'refused') return NOTHING;
  // The first message of a session cannot be edited: there is nothing to go on from.
  if (role === 'user') return index > 0 && !isGenerating ? OFFERS.mine : OFFERS.copy;
  if (!last || status === 'open') return NOTHING;
  return newest && !isGenerating ? OFFERS.newest : OFFERS.copy;
}

/**
 * What goes on now, or how it ended.
 * @param {ChatSnapshot} chat
 */
function Doing({ activity, run, isGenerating, error, messages }) {
  const actions = useAgentActions();
  if (error !== null) {
    const failed = run?.status === 'failed';
    const act = (/** @type {string} */ label, /** @type {() => unknown} */ onClick) =>
      h(
        'button',
        { type: 'button', className: 'agw-button', onClick: () => void onClick() },
        label,
      );
    return h(
      'div',
      { className: 'agw-card agw-error', role: 'alert' },
      h('p', null, error || 'Something went wrong.'),
      h(
        'div',
        { className: 'agw-buttons' },
        failed && act('Try again', () => actions.regenerate()),
        act('Dismiss', actions.clearError),
      ),
    );
  }
  if (!isGenerating) {
    // A message that was cut off says so itself.
    const told = messages.some((one) => one.run === run?.id && one.status === 'interrupted');
    const stopped = run?.status === 'cancelled' && !told;
    return stopped ? h('p', { className: 'agw-note' }, 'Stopped') : null;
  }
  const speaking = messages.at(-1)?.status === 'open' && activity === 'Working';
  return h(
    'div',
    { className: 'agw-doing' },
    !speaking && h('p', null, h('i', { className: 'agw-dots', 'aria-hidden': true }), activity),
    run?.progress && h(ProgressBar, { progress: run.progress }),
  );
}

/** @param {{status: import('../types.js').Status}} props */
function Banner({ status }) {
  const { reconnect } = useAgentActions();
  const lost = status === 'offline' || status === 'resuming' || status === 'closed';
  const text = status === 'resuming' ? 'Reconnecting…' : 'No connection. Nothing is lost.';
  const [welcomed, setWelcomed] = useState(false);
  if (status === 'open' && !welcomed) setWelcomed(true);
  // Before the first `welcome` there is nothing to be missed.
  const shown = lost && (welcomed || status === 'offline');
  return h(
    'div',
    { role: 'status', className: 'agw-status' },
    shown &&
      h(
        'p',
        { className: 'agw-banner', 'data-status': status },
        text,
        status !== 'resuming' &&
          h('button', { type: 'button', className: 'agw-link', onClick: reconnect }, 'Connect now'),
      ),
  );
}

/**
 * Says, once each, what a person who does not see the page must know.
 * @param {ChatSnapshot} chat
 */
function Announcer({ chatId, state, messages }) {
  const said = useRef({ chatId: /** @type {string | null} */ (null), key: '' });
  const [text, setText] = useState('');
  const { key, text: newer } = (state && newsOf(state)) ?? { key: '', text: '' };
  const known = state !== null;
  const sent = messages.length > 0;
  useEffect(() => {
    if (!known && !sent) return;
    // What was there when the session was opened is not news.
    if (said.current.chatId !== chatId) said.current = { chatId, key: known ? key : '' };
    if (!key || said.current.key === key) return;
    said.current.key = key;
    setText(newer);
  }, [chatId, known, sent, key, newer]);
  return h('p', { className: 'agw-unseen', 'aria-live': 'polite' }, text);
}
