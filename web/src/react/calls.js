/** Tool calls and questions: cards that show what went in and out, and ask a person. */

import { createElement as h, useState } from 'react';
import { pretty, stateOf } from '../words.js';
import { Folded, Icon, ProgressBar, yieldFocus } from './elements.js';
import { useAgentActions } from './provider.js';

/** @typedef {import('../types.js').Call} Call */
/** @typedef {import('../types.js').Approval} Approval */
/** @typedef {import('../types.js').Progress} Progress */

const MAX_ROWS = 10;

const DECISIONS = {
  approve: 'Allowed',
  deny: 'Denied',
  expired: 'Nobody answered in time',
  cancelled: 'No longer asked',
};

/** @param {{call: Call, approval?: Approval, progress?: Progress}} props */
export function ToolCard({ call, approval, progress }) {
  const asking = approval !== undefined && approval.decision === undefined;
  const { state, label } = stateOf(call, asking);
  const title = [
    h(Icon, { key: 'icon', name: 'tool' }),
    h('span', { key: 'name', className: 'agw-tool-name' }, call.name),
    h('span', { key: 'dot', className: 'agw-dot' }),
    h('span', { key: 'state', className: 'agw-tool-state' }, label),
  ];
  return h(
    'div',
    { className: 'agw-call' },
    h(
      Folded,
      { className: 'agw-card agw-tool', title, 'data-name': call.name, 'data-status': state },
      h(Section, { title: 'Arguments', text: pretty(call.arguments || {}) }),
      call.error &&
        h(Section, { title: 'Error', text: `${call.error.message}\n(${call.error.code})` }),
      call.status === 'completed' &&
        !call.error &&
        h(Section, { title: 'Result', text: pretty(call.output ?? null) }),
    ),
    call.status !== 'completed' && progress && h(ProgressBar, { progress }),
    approval && h(ApprovalCard, { approval }),
  );
}

/** @param {{title: string, text: string}} props */
function Section({ title, text }) {
  return h(
    'div',
    { className: 'agw-section' },
    h('span', { className: 'agw-label' }, title),
    h('pre', { tabIndex: 0 }, text),
  );
}

/** @param {{approval: Approval}} props */
export function ApprovalCard({ approval }) {
  const { decision, title, by, reason } = approval;
  if (!decision) return h(Question, { approval });
  const said = `${DECISIONS[decision]}${by ? ` by ${by}` : ''}${reason ? `: ${reason}` : ''}`;
  return h(
    'p',
    { className: 'agw-decided', 'data-decision': decision },
    h(Icon, { name: 'hand' }),
    h('span', null, title),
    h('span', null, said),
  );
}

/** @param {{approval: Approval}} props */
function Question({ approval }) {
  const { id, title, call } = approval;
  const original = approval.arguments === undefined ? null : pretty(approval.arguments);
  const [edited, setEdited] = useState(original);
  const [answering, setAnswering] = useState(false);
  const [problem, setProblem] = useState('');
  const actions = useAgentActions();

  /**
   * @param {Element} button
   * @param {() => Promise<unknown>} decide
   */
  async function answer(button, decide) {
    setProblem('');
    setAnswering(true);
    yieldFocus(button);
    // An answer that was taken makes this a card that says so.
    if (!(await decide())) setAnswering(false);
  }
  /**
   * @param {Element} button
   * @param {{remember?: boolean}} how
   */
  async function approve(button, how) {
    const options = edited === original ? {} : parsed(String(edited));
    if (!options) return setProblem('The arguments are not valid JSON.');
    return answer(button, () => actions.approveTool(id, { ...options, ...how }));
  }
  const deny = (/** @type {Element} */ button) => answer(button, () => actions.rejectTool(id));
  /**
   * @param {string} label
   * @param {string} look
   * @param {(button: Element) => Promise<unknown>} press
   */
  const button = (label, look, press) => {
    const onClick = (/** @type {any} */ event) => void press(event.currentTarget);
    const props = { type: /** @type {const} */ ('button'), disabled: answering, onClick };
    return h('button', { ...props, className: `agw-button ${look}` }, label);
  };
  return h(
    'div',
    { className: 'agw-card agw-question', role: 'group', 'aria-label': `Approval: ${title}` },
    h(
      'p',
      null,
      h(Icon, { name: 'hand' }),
      h('strong', null, 'May the agent do this?'),
      h('code', null, title),
    ),
    original !== null &&
      h(
        'label',
        { className: 'agw-section' },
        h('span', { className: 'agw-label' }, 'Arguments'),
        h('textarea', {
          rows: Math.min(MAX_ROWS, String(edited).split('\n').length),
          spellCheck: false,
          value: String(edited),
          onChange: (/** @type {any} */ event) => setEdited(event.target.value),
        }),
      ),
    problem && h('p', { className: 'agw-problem', role: 'alert' }, problem),
    h(
      'div',
      { className: 'agw-buttons' },
      button('Allow', 'agw-primary', (pressed) => approve(pressed, {})),
      call !== undefined &&
        button('Always allow', '', (pressed) => approve(pressed, { remember: true })),
      button('Deny', 'agw-deny', deny),
    ),
  );
}

/**
 * @param {string} text
 * @returns {{arguments: unknown} | null}
 */
function parsed(text) {
  try {
    return { arguments: JSON.parse(text) };
  } catch {
    return null;
  }
}
