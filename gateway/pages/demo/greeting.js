/** What a pane shows before its session exists: whom to talk to. */

import { h, write } from './dom.js';
import { AGENTS, agentOf } from './suggestions.js';

/**
 * @param {string} key of the pane
 * @param {(agent: string) => void} onChoose called once at the start as well
 */
export function greeting(key, onChoose) {
  const about = h('p', { class: 'about' });
  const choose = (/** @type {string} */ agent) => {
    write(about, agentOf(agent)?.about ?? '');
    onChoose(agent);
  };
  const choices = AGENTS.map(({ name, title }, index) =>
    h(
      'label',
      { class: 'choice' },
      h('input', {
        test: `agent-${name}`,
        attrs: {
          type: 'radio',
          name: `agent-${key}`,
          value: name,
          checked: index === 0,
        },
        on: { change: () => choose(name) },
      }),
      h('span', {}, title),
    ),
  );
  choose(AGENTS[0].name);
  return h(
    'div',
    { class: 'greeting', test: 'greeting' },
    h('p', { class: 'greeting-title' }, 'Whom do you want to talk to?'),
    h(
      'div',
      {
        class: 'choices',
        attrs: { role: 'radiogroup', 'aria-label': 'Agent' },
      },
      ...choices,
    ),
    about,
  );
}
