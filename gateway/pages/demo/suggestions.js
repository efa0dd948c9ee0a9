/** What to try with each of the built-in agents. */

/** @typedef {{label: string, text: string}} Suggestion */
/** @typedef {{name: string, title: string, about: string, suggestions: Suggestion[]}} Agent */

/** @param {...unknown} steps */
function script(...steps) {
  return JSON.stringify(steps);
}

/** @type {Agent[]} */
const BUILT_IN = [
  {
    name: 'demo',
    title: 'Demo',
    about: 'Reads and changes this page, asks before it renames it, and tells long stories.',
    suggestions: [
      {
        label: 'Read the heading',
        text: 'What does the heading of this page say?',
      },
      {
        label: 'Highlight it',
        text: 'Highlight the title of this page, please.',
      },
      {
        label: 'Rename the page',
        text: 'Rename this page to “Mission control”.',
      },
      { label: 'Tell a long story', text: 'Tell me a long story.' },
      { label: 'Two tools at once', text: 'Do several steps at once.' },
      { label: 'Fail', text: 'Please fail.' },
    ],
  },
  {
    name: 'echo',
    title: 'Echo',
    about: 'Says what you say.',
    suggestions: [
      { label: 'Hello', text: 'Hello, is there anybody?' },
      {
        label: 'Some Markdown',
        text: '**Bold**, *soft* and `code`:\n\n- one\n- two\n\n> and a quote',
      },
    ],
  },
  {
    name: 'scripted',
    title: 'Scripted',
    about: 'Does the steps of a JSON list, one after the other.',
    suggestions: [
      {
        label: 'Think, then speak',
        text: script(
          { think: 'The person wants to see a thought.', interval_ms: 30 },
          { say: 'Here is the answer, after some thought.', interval_ms: 30 },
        ),
      },
      {
        label: 'Use this browser',
        text: script(
          { commentary: 'I will look at the page.', interval_ms: 20 },
          { call_tool: { name: 'read_heading', arguments: { level: 1 } } },
          { say: 'The page answered {last}.', interval_ms: 20 },
        ),
      },
      {
        label: 'Ask me first',
        text: script(
          {
            approve: {
              title: 'Send the report',
              arguments: { to: 'team@example.com' },
            },
          },
          { say: 'You decided: {last}' },
        ),
      },
      {
        label: 'Show progress',
        text: script(
          { activity: 'preparing' },
          ...[1, 2, 3, 4, 5].flatMap((step) => [{ progress: [step, 5] }, { sleep_ms: 600 }]),
          { say: 'All five steps are done.' },
        ),
      },
      {
        label: 'Fail',
        text: script({ say: 'This will not end well.' }, { fail: 'As you wished.' }),
      },
    ],
  },
];

/** @param {string} name */
function builtIn(name) {
  return BUILT_IN.find((agent) => agent.name === name);
}

/** @param {string} name @returns {Agent} */
function own(name) {
  return { name, title: name, about: 'An agent of your own.', suggestions: [] };
}

const named = [...new Set(new URLSearchParams(location.search).getAll('agent'))];

/** Those that the page's address names (`/?agent=guide`), else the built-in ones. */
export const AGENTS = named.length ? named.map((name) => builtIn(name) ?? own(name)) : BUILT_IN;

/** @param {string} name */
export function agentOf(name) {
  return AGENTS.find((agent) => agent.name === name);
}
