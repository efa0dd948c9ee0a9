/** What was said, in order: messages, approvals that belong to no call, and how the run ended. */

import { isVisible } from '/client/words.js';
import { approvalCard } from './approval_card.js';
import { h, write } from './dom.js';
import { keyed } from './keyed.js';
import { messageView } from './message.js';

/** @typedef {import('/client/types.js').SessionState} SessionState */
/** @typedef {import('/client/types.js').Approval} Approval */
/** @typedef {import('/client/types.js').Progress} Progress */

/**
 * @typedef {{kind: 'message', key: string, item: import('./message.js').MessageItem}
 *   | {kind: 'approval', key: string, approval: Approval}
 *   | {kind: 'error', key: string, text: string}
 *   | {kind: 'end', key: string, text: string}} Item
 */

/**
 * @param {SessionState} state
 * @param {ReadonlyMap<string, Progress>} progress by call id
 * @returns {Item[]}
 */
export function itemsOf(state, progress) {
  const approvals = new Map();
  const loose = [];
  for (const approval of Object.values(state.approvals)) {
    if (approval.call !== undefined && state.calls[approval.call]) {
      approvals.set(approval.call, approval);
    } else loose.push(approval);
  }
  const { calls } = state;
  /** @type {Item[]} */
  const items = [];
  const visible = state.messages.filter(({ parts }) => parts.some(isVisible));
  const lastOf = new Map(visible.map(({ run }, index) => [run, index]));
  for (const [index, message] of visible.entries()) {
    items.push({
      kind: 'message',
      key: message.id,
      item: { message, calls, approvals, progress },
    });
    if (lastOf.get(message.run) === index) items.push(...asked(loose, message.run));
  }
  const { run } = state;
  if (run && !lastOf.has(run.id)) items.push(...asked(loose, run.id));
  return [...items, ...ending(state, visible)];
}

/**
 * @param {Approval[]} approvals
 * @param {string | undefined} run
 * @returns {Item[]}
 */
function asked(approvals, run) {
  return approvals
    .filter((approval) => approval.run === run)
    .map((approval) => ({ kind: 'approval', key: approval.id, approval }));
}

/**
 * @param {SessionState} state
 * @param {SessionState['messages']} visible
 * @returns {Item[]}
 */
function ending({ run }, visible) {
  if (run?.status === 'failed') {
    const text = `${run.error?.message ?? 'The run failed.'} (${run.error?.code ?? 'unknown'})`;
    return [{ kind: 'error', key: `${run.id} error`, text }];
  }
  // A message that was cut off says so itself.
  const told = visible.some((one) => one.run === run?.id && one.status === 'interrupted');
  if (run?.status !== 'cancelled' || told) return [];
  return [{ kind: 'end', key: `${run.id} end`, text: 'Stopped' }];
}

/**
 * @param {import('./approval_card.js').Answers} answers
 * @returns {{node: HTMLElement, update: (items: readonly Item[]) => void}}
 */
export function transcript(answers) {
  const node = h('div', { class: 'transcript', test: 'transcript' });
  const show = keyed(
    node,
    ({ key }) => key,
    (/** @type {Item} */ item) => itemView(item, answers),
  );
  return { node, update: show };
}

/**
 * @param {Item} item
 * @param {import('./approval_card.js').Answers} answers
 * @returns {import('./keyed.js').View<Item>}
 */
function itemView(item, answers) {
  if (item.kind === 'message') {
    const view = messageView(answers);
    return {
      node: view.node,
      update: (next) => next.kind === 'message' && view.update(next.item),
    };
  }
  if (item.kind === 'approval') {
    const view = approvalCard(answers);
    return {
      node: view.node,
      update: (next) => next.kind === 'approval' && view.update(next.approval),
    };
  }
  const node =
    item.kind === 'error'
      ? h('div', {
          class: 'card error',
          test: 'error',
          attrs: { role: 'alert' },
        })
      : h('p', { class: 'note end', test: 'ended' });
  return { node, update: (next) => 'text' in next && write(node, next.text) };
}
