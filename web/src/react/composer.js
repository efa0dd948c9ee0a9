/** Where the person writes: the field, files, Send and Stop. */

import { createElement as h, memo, useRef, useState } from 'react';
import { Icon, IconButton, yieldFocus } from './elements.js';
import { useAgentActions } from './provider.js';

/**
 * @typedef {object} ComposerProps
 * @property {boolean} generating
 * @property {boolean} attachments
 * @property {string} placeholder
 * @property {boolean} autoFocus
 * @property {() => void} onSend
 */

export const Composer = memo(function Composer(/** @type {ComposerProps} */ props) {
  const { generating, attachments, placeholder, autoFocus, onSend } = props;
  const [text, setText] = useState('');
  const [files, setFiles] = useState(/** @type {File[]} */ ([]));
  const actions = useAgentActions();
  /** @type {import('react').RefObject<HTMLInputElement | null>} */
  const picker = useRef(null);
  const empty = !text.trim() && !files.length;

  function send() {
    if (empty) return;
    void actions.sendMessage(text, files);
    setText('');
    setFiles([]);
    onSend();
  }
  /** @param {FileList | null} list */
  const add = (list) => setFiles((before) => [...before, ...(list ?? [])]);
  return h(
    'form',
    {
      className: 'agw-composer',
      onSubmit: (/** @type {any} */ event) => {
        event.preventDefault();
        send();
      },
    },
    files.length > 0 &&
      h(
        'ul',
        { className: 'agw-files', 'aria-label': 'Files' },
        files.map((file, index) =>
          h(
            'li',
            { key: index },
            file.name,
            h(IconButton, {
              name: 'close',
              label: `Remove ${file.name}`,
              onClick: () => setFiles(files.filter((other) => other !== file)),
            }),
          ),
        ),
      ),
    h(
      'div',
      { className: 'agw-field' },
      attachments &&
        h(IconButton, {
          name: 'clip',
          label: 'Attach files',
          onClick: () => picker.current?.click(),
        }),
      attachments &&
        h('input', {
          type: 'file',
          multiple: true,
          hidden: true,
          ref: picker,
          onChange: (/** @type {any} */ event) => {
            add(event.target.files);
            event.target.value = '';
          },
        }),
      h('textarea', {
        rows: 1,
        value: text,
        placeholder,
        autoFocus,
        'aria-label': 'Message',
        enterKeyHint: 'send',
        onChange: (/** @type {any} */ event) => setText(event.target.value),
        onPaste: (event) => attachments && add(event.clipboardData.files),
        onKeyDown: (event) => {
          // While an input method composes, Enter picks a word.
          if (event.key !== 'Enter' || event.shiftKey || event.nativeEvent.isComposing) return;
          event.preventDefault();
          send();
        },
      }),
      generating &&
        h(
          'button',
          {
            type: 'button',
            className: 'agw-round agw-stop',
            'aria-label': 'Stop',
            title: 'Stop (Esc)',
            onClick: (/** @type {any} */ event) => {
              void actions.stopGeneration();
              yieldFocus(event.currentTarget);
            },
          },
          h(Icon, { name: 'stop' }),
        ),
      (!generating || !empty) &&
        h(
          'button',
          {
            type: 'submit',
            className: 'agw-round agw-send',
            'aria-label': 'Send',
            disabled: empty,
          },
          h(Icon, { name: 'send' }),
        ),
    ),
  );
});
