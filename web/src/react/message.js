/** One message with its parts; drawn anew only when it, or a call of it, has changed. */

import { createElement as h, memo, useState } from 'react';
import { link } from '../markdown.js';
import { isVisible, pretty } from '../words.js';
import { ToolCard } from './calls.js';
import { Folded, Icon, IconButton, Markdown } from './elements.js';
import { useAgentActions } from './provider.js';

/** @typedef {import('./chat.js').ChatMessage} ChatMessage */
/** @typedef {import('../types.js').Part} Part */
/** @typedef {import('../types.js').Call} Call */
/** @typedef {import('../types.js').Approval} Approval */
/** @typedef {import('../types.js').Progress} Progress */

/** @typedef {'copy' | 'edit' | 'regenerate'} Offer */

/**
 * @typedef {object} MessageProps
 * @property {ChatMessage} message
 * @property {Readonly<Record<string, Call>>} calls
 * @property {ReadonlyMap<string, Approval>} approvals by call id
 * @property {Readonly<Record<string, Progress>>} progress by call id
 * @property {readonly Offer[]} offers what may be done with it
 */

const NOTES = /** @type {Record<string, string>} */ ({
  interrupted: 'Stopped',
  failed: 'Broken off',
  queued: 'Waits for its turn',
});

export const MessageView = memo(function MessageView(/** @type {MessageProps} */ props) {
  const { message, offers } = props;
  const { id, role, status, parts, error } = message;
  const [editing, setEditing] = useState(false);
  const actions = useAgentActions();
  const mine = role === 'user';
  const end = parts.length - 1;
  if (editing) return h(Editor, { message, done: () => setEditing(false) });
  return h(
    'article',
    {
      className: 'agw-message',
      'data-role': role,
      'data-status': status,
      'aria-label': mine ? 'You' : 'Agent',
    },
    h(
      'div',
      { className: 'agw-parts' },
      parts.map(
        (part, index) =>
          isVisible(part) &&
          h(PartView, { key: index, part, growing: status === 'open' && index === end, ...props }),
      ),
    ),
    status in NOTES && h('p', { className: 'agw-note' }, NOTES[status]),
    status === 'refused' &&
      h(
        'p',
        { className: 'agw-note agw-problem', role: 'alert' },
        `Not sent: ${error?.message ?? ''} `,
        textButton('Try again', () => actions.resendMessage(id)),
        textButton('Remove', () => actions.cancelMessage(id)),
      ),
    status === 'queued' &&
      h(IconButton, {
        name: 'close',
        label: 'Take back',
        onClick: () => void actions.cancelMessage(id),
      }),
    offers.length > 0 &&
      h(
        'div',
        { className: 'agw-tools' },
        message.text && h(Copy, { text: message.text }),
        offers.includes('edit') &&
          h(IconButton, { name: 'pencil', label: 'Edit', onClick: () => setEditing(true) }),
        offers.includes('regenerate') &&
          h(IconButton, {
            name: 'again',
            label: 'Another answer',
            onClick: () => void actions.regenerate(id),
          }),
      ),
  );
}, unchanged);

/**
 * @param {MessageProps} before
 * @param {MessageProps} now
 */
function unchanged(before, now) {
  if (before.message !== now.message || before.offers !== now.offers) return false;
  return now.message.parts.every((part) => {
    if (part.kind !== 'tool_call') return true;
    const { call } = part;
    const same = before.calls[call] === now.calls[call];
    const told = before.progress[call] === now.progress[call];
    return same && told && before.approvals.get(call) === now.approvals.get(call);
  });
}

/** @param {MessageProps & {part: Part, growing: boolean}} props */
function PartView({ part, growing, message, calls, approvals, progress }) {
  const grows = growing ? ' agw-growing' : '';
  switch (part.kind) {
    case 'text':
    case 'commentary':
      // What a person typed is shown as typed.
      return message.role === 'user'
        ? h('p', { className: 'agw-typed' }, part.text)
        : h('div', { className: `agw-${part.kind}${grows}` }, h(Markdown, { text: part.text }));
    case 'thinking':
      return h(
        Folded,
        { className: `agw-thinking${grows}`, title: growing ? 'Thinking…' : 'Thought about it' },
        h('p', null, part.text),
      );
    case 'tool_call': {
      const call = calls[part.call];
      const about = { approval: approvals.get(part.call), progress: progress[part.call] };
      return call ? h(ToolCard, { call, ...about }) : null;
    }
    case 'file':
      return h(FileView, part);
    case 'source':
      return h('p', { className: 'agw-file' }, link(part.url, part.title ?? part.url, h));
    case 'data':
      return h(
        Folded,
        { className: 'agw-thinking', title: part.name },
        h('pre', { tabIndex: 0 }, pretty(part.value)),
      );
    default:
      // Of a later version of the protocol.
      return null;
  }
}

/**
 * Images that came along are shown; what would have to be fetched is a link.
 * @param {{url: string, media_type: string, name?: string}} props
 */
function FileView({ url, media_type, name = 'file' }) {
  const embedded = url.startsWith('data:');
  if (embedded && /^image\/(png|jpeg|gif|webp|avif)$/.test(media_type)) {
    return h('img', { className: 'agw-image', src: url, alt: name });
  }
  const shown = embedded ? h('a', { href: url, download: name }, name) : link(url, name, h);
  return h('p', { className: 'agw-file' }, h(Icon, { name: 'clip' }), shown ?? name);
}

/** @param {{message: ChatMessage, done: () => void}} props */
function Editor({ message, done }) {
  const [text, setText] = useState(message.text);
  const actions = useAgentActions();
  const files = message.parts.filter(({ kind }) => kind === 'file');
  const send = () => {
    done();
    void actions.editMessage(message.id, [{ kind: 'text', text }, ...files]);
  };
  return h(
    'form',
    {
      className: 'agw-editor',
      onSubmit: (/** @type {any} */ event) => {
        event.preventDefault();
        send();
      },
      onKeyDown: (/** @type {any} */ event) => {
        if (event.key !== 'Escape') return;
        event.stopPropagation();
        done();
      },
    },
    h('textarea', {
      'aria-label': 'Edit message',
      autoFocus: true,
      value: text,
      onChange: (/** @type {any} */ event) => setText(event.target.value),
    }),
    h(
      'div',
      { className: 'agw-buttons' },
      h(
        'button',
        { type: 'submit', className: 'agw-button agw-primary', disabled: !text.trim() },
        'Send',
      ),
      h('button', { type: 'button', className: 'agw-button', onClick: done }, 'Cancel'),
    ),
  );
}

/** @param {{text: string}} props */
function Copy({ text }) {
  const [copied, setCopied] = useState(false);
  const label = copied ? 'Copied' : 'Copy';
  const copy = () => navigator.clipboard.writeText(text).then(() => setCopied(true));
  return h(IconButton, { name: 'copy', label, onClick: () => void copy() });
}

/**
 * @param {string} label
 * @param {() => unknown} onClick
 */
function textButton(label, onClick) {
  return h(
    'button',
    { type: 'button', className: 'agw-link', onClick: () => void onClick() },
    label,
  );
}
