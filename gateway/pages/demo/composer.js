/** Where the person writes: the field, Send, Stop, and suggestions. */

import { fill, h } from './dom.js';
import { icon } from './icons.js';

const MAX_HEIGHT_PX = 220;

/**
 * @param {object} options
 * @param {(text: string, label?: string) => Promise<boolean>} options.send whether it went out
 * @param {() => void} options.stop
 */
export function composer({ send, stop }) {
  const field = h('textarea', {
    test: 'composer',
    attrs: {
      rows: 1,
      placeholder: 'Message the agent',
      'aria-label': 'Message',
      enterkeyhint: 'send',
    },
    on: { input: fit, keydown: onKey },
  });
  const sendButton = h(
    'button',
    {
      class: 'round send',
      test: 'send',
      attrs: { type: 'submit', 'aria-label': 'Send' },
    },
    icon('send'),
  );
  const stopButton = h(
    'button',
    {
      class: 'round stop',
      test: 'stop',
      attrs: { type: 'button', 'aria-label': 'Stop', title: 'Stop (Esc)' },
      on: { click: stop },
    },
    icon('stop'),
  );
  stopButton.hidden = true;
  const chips = h('div', {
    class: 'chips',
    attrs: { role: 'group', 'aria-label': 'Suggestions' },
  });
  const form = h(
    'form',
    { class: 'composer-form', on: { submit: onSubmit } },
    field,
    stopButton,
    sendButton,
  );
  const node = h('div', { class: 'composer' }, chips, form);

  function fit() {
    field.style.height = 'auto';
    // Zero: it is not on the screen.
    const height = Math.min(field.scrollHeight, MAX_HEIGHT_PX);
    if (height) field.style.height = `${height}px`;
    form.classList.toggle('empty', !field.value.trim());
  }

  /** @param {KeyboardEvent} event */
  function onKey(event) {
    // While an input method composes, Enter picks a word.
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    form.requestSubmit();
  }

  /** @param {SubmitEvent} event */
  function onSubmit(event) {
    event.preventDefault();
    void give(field.value.trim());
  }

  /**
   * @param {string} text
   * @param {string} [label] of the suggestion it was
   */
  async function give(text, label) {
    if (!text) return;
    const draft = field.value;
    field.value = '';
    fit();
    if (await send(text, label)) return;
    field.value ||= draft || text;
    fit();
  }

  fit();
  return {
    node,
    /** Not on a touch screen, where it would bring up the keyboard. */
    focus() {
      if (matchMedia('(pointer: fine)').matches) field.focus();
    },
    /** @param {{live: boolean, writable: boolean, placeholder: string}} now */
    update({ live, writable, placeholder }) {
      stopButton.hidden = !live;
      sendButton.disabled = !writable;
      field.disabled = !writable;
      field.placeholder = placeholder;
      chips.hidden = live || !writable;
    },
    /** @param {import('./suggestions.js').Suggestion[]} suggestions */
    suggest(suggestions) {
      fill(
        chips,
        ...suggestions.map(({ label, text }) =>
          h(
            'button',
            {
              class: 'chip',
              test: 'suggestion',
              attrs: { type: 'button', title: text },
              on: { click: () => void give(text, label) },
            },
            label,
          ),
        ),
      );
    },
  };
}
