/** One question to the person: what is asked, with arguments they may edit; then what they said. */

import { pretty } from '/client/words.js';
import { fill, h, write } from './dom.js';
import { icon } from './icons.js';

/** @typedef {import('/client/types.js').Approval} Approval */

/**
 * @typedef {object} Answers
 * @property {(approval: Approval, options: {arguments?: unknown, remember?: boolean}) => Promise<unknown>} approve
 * @property {(approval: Approval) => Promise<unknown>} deny
 */

const DECISIONS = {
  approve: 'Approved',
  deny: 'Denied',
  expired: 'Nobody answered in time',
  cancelled: 'No longer asked',
};

/**
 * @param {Answers} answers
 * @returns {{node: HTMLElement, update: (approval: Approval) => void}}
 */
export function approvalCard(answers) {
  const node = h('div', { class: 'card approval', test: 'approval' });
  /** @type {string | undefined | null} */
  let shown = null;
  return {
    node,
    update(approval) {
      if (shown === approval.decision) return;
      shown = approval.decision;
      node.dataset.decision = approval.decision ?? 'open';
      fill(node, ...(approval.decision ? resolved(approval) : [question(approval, answers)]));
    },
  };
}

/** @param {Approval} approval */
function resolved(approval) {
  const decision = approval.decision ?? 'cancelled';
  const by = approval.by ? ` by ${approval.by}` : '';
  const reason = approval.reason ? `: ${approval.reason}` : '';
  return [
    icon('hand'),
    h('span', { class: 'approval-title' }, approval.title),
    h('span', { class: 'approval-decision' }, `${DECISIONS[decision]}${by}${reason}`),
  ];
}

/**
 * @param {Approval} approval
 * @param {Answers} answers
 */
function question(approval, answers) {
  const original = approval.arguments === undefined ? null : pretty(approval.arguments);
  const field = argumentsField(original);
  const remember = h('input', { attrs: { type: 'checkbox' } });
  const problem = h('p', { class: 'problem', attrs: { role: 'alert' } });
  const approve = button('Approve', 'approve primary', 'approve');
  const deny = button('Deny', 'deny', 'deny');

  /** @param {() => Promise<unknown>} answer */
  async function give(answer) {
    approve.disabled = deny.disabled = true;
    write(problem, '');
    try {
      await answer();
    } catch (error) {
      write(problem, error instanceof Error ? error.message : String(error));
      approve.disabled = deny.disabled = false;
    }
  }
  approve.addEventListener('click', () =>
    give(() => {
      const edited = field && field.value !== original;
      return answers.approve(approval, {
        ...(edited ? { arguments: parse(field.value) } : {}),
        ...(remember.checked ? { remember: true } : {}),
      });
    }),
  );
  deny.addEventListener('click', () => give(() => answers.deny(approval)));

  return h(
    'div',
    {
      class: 'question',
      attrs: { role: 'group', 'aria-label': `Approval: ${approval.title}` },
    },
    h(
      'div',
      { class: 'question-head' },
      icon('hand'),
      h('strong', {}, 'May the agent do this?'),
      h('code', {}, approval.title),
    ),
    field && h('label', { class: 'arguments' }, h('span', { class: 'label' }, 'Arguments'), field),
    problem,
    h(
      'div',
      { class: 'question-foot' },
      approve,
      deny,
      approval.call !== undefined &&
        h('label', { class: 'remember' }, remember, 'Don’t ask again here'),
    ),
  );
}

/**
 * @param {string} label
 * @param {string} look
 * @param {string} test
 */
function button(label, look, test) {
  return h('button', { class: `button ${look}`, test, attrs: { type: 'button' } }, label);
}

/** @param {string | null} text */
function argumentsField(text) {
  if (text === null) return null;
  const rows = Math.min(10, text.split('\n').length);
  const attrs = { rows, spellcheck: 'false', autocomplete: 'off' };
  const field = h('textarea', { class: 'code', test: 'arguments', attrs });
  field.value = text;
  return field;
}

/** @param {string} text */
function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    throw new Error('The arguments are not valid JSON.');
  }
}
