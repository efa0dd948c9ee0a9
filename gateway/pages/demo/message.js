/** One message with its parts; only what changed since the last look is touched. */

import { isVisible, pretty } from '/client/words.js';
import { approvalCard } from './approval_card.js';
import { attrs, h, write } from './dom.js';
import { keyed } from './keyed.js';
import { link, markdown } from './markdown.js';
import { toolCard } from './tool_card.js';

/** @typedef {import('/client/types.js').Message} Message */
/** @typedef {import('/client/types.js').Part} Part */
/** @typedef {import('/client/types.js').Call} Call */
/** @typedef {import('/client/types.js').Approval} Approval */
/** @typedef {import('/client/types.js').Progress} Progress */

/**
 * @typedef {object} MessageItem a message with what its calls refer to
 * @property {Message} message
 * @property {Readonly<Record<string, Call>>} calls
 * @property {ReadonlyMap<string, Approval>} approvals by call id
 * @property {ReadonlyMap<string, Progress>} progress by call id
 */

/** @typedef {{part: Part, index: number, item: MessageItem, last: boolean}} PartItem */

const NOTES = { interrupted: 'Stopped', failed: 'Broken off' };

/**
 * @param {import('./approval_card.js').Answers} answers
 * @returns {import('./keyed.js').View<MessageItem>}
 */
export function messageView(answers) {
  const body = h('div', { class: 'parts' });
  const note = h('p', { class: 'note', test: 'note' });
  const node = h('article', { class: 'message', test: 'message' }, body, note);
  const show = keyed(
    body,
    (/** @type {PartItem} */ { index, part }) => `${index} ${part.kind}`,
    (item) => partView(item, answers),
  );
  return {
    node,
    update(item) {
      const { message } = item;
      const { role, status } = message;
      attrs(node, {
        'data-role': role,
        'data-status': status,
        'data-message': message.id,
      });
      attrs(node, { 'aria-label': role === 'user' ? 'You' : 'Agent' });
      const open = status === 'open';
      const last = message.parts.length - 1;
      show(
        message.parts
          .map((part, index) => ({ part, index, item, last: open && index === last }))
          .filter(({ part }) => isVisible(part)),
      );
      const text = status === 'interrupted' || status === 'failed' ? NOTES[status] : '';
      write(note, text);
      note.hidden = !text;
    },
  };
}

/**
 * @param {PartItem} item
 * @param {import('./approval_card.js').Answers} answers
 * @returns {import('./keyed.js').View<PartItem>}
 */
function partView({ part }, answers) {
  switch (part.kind) {
    case 'text':
      return textView('text');
    case 'commentary':
      return textView('commentary');
    case 'thinking':
      return thinkingView();
    case 'tool_call':
      return callView(answers);
    case 'file':
      return fixed(
        h('p', { class: 'file' }, '📎 ', link(part.url, part.name ?? part.url) ?? part.name),
      );
    case 'source':
      return fixed(h('p', { class: 'source' }, link(part.url, part.title ?? part.url)));
    case 'data':
      return fixed(
        h(
          'details',
          { class: 'data' },
          h('summary', {}, part.name),
          h('pre', {}, pretty(part.value)),
        ),
      );
    default:
      // Of a later version of the protocol: it keeps its place.
      return fixed(h('span', { attrs: { hidden: true } }));
  }
}

/**
 * @param {HTMLElement} node
 * @returns {import('./keyed.js').View<PartItem>}
 */
function fixed(node) {
  return { node, update() {} };
}

/**
 * @param {'text' | 'commentary'} kind
 * @returns {import('./keyed.js').View<PartItem>}
 */
function textView(kind) {
  const { node, update } = markdown();
  node.classList.add(kind);
  node.dataset.testid = kind;
  /** @type {Part | null} */
  let shown = null;
  return {
    node,
    update({ part, last, item }) {
      node.classList.toggle('growing', last);
      if (part === shown) return;
      shown = part;
      const { text } = /** @type {{text: string}} */ (part);
      // What a person typed is shown as typed.
      if (item.message.role === 'user') write(node, text);
      else update(text);
    },
  };
}

/** @returns {import('./keyed.js').View<PartItem>} */
function thinkingView() {
  const title = h('summary', {});
  const text = h('p', {});
  const node = h('details', { class: 'thinking', test: 'thinking' }, title, text);
  return {
    node,
    update({ part, last }) {
      write(title, last ? 'Thinking…' : 'Thought about it');
      node.classList.toggle('growing', last);
      write(text, /** @type {{text: string}} */ (part).text);
    },
  };
}

/**
 * @param {import('./approval_card.js').Answers} answers
 * @returns {import('./keyed.js').View<PartItem>}
 */
function callView(answers) {
  const card = toolCard();
  const approval = approvalCard(answers);
  approval.node.hidden = true;
  const node = h('div', { class: 'call' }, card.node, approval.node);
  return {
    node,
    update({ part, item }) {
      const { call: id } = /** @type {{call: string}} */ (part);
      const call = item.calls[id];
      const asked = item.approvals.get(id);
      card.node.hidden = !call;
      const asking = asked !== undefined && asked.decision === undefined;
      if (call) card.update(call, item.progress.get(id), asking);
      approval.node.hidden = !asked;
      if (asked) approval.update(asked);
    },
  };
}
