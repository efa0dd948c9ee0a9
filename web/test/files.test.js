import assert from 'node:assert/strict';
import { test } from 'node:test';

import { contentOf, filePart } from '../src/files.js';

const PNG = { kind: 'file', url: 'https://x/a.png', media_type: 'image/png', name: 'a.png' };

test('text stays text, and is the first part beside files', () => {
  assert.equal(contentOf('hi'), 'hi');
  assert.deepEqual(contentOf('hi', [/** @type {any} */ (PNG)]), [
    { kind: 'text', text: 'hi' },
    PNG,
  ]);
  assert.deepEqual(contentOf('', [/** @type {any} */ (PNG)]), [PNG]);
});

test('a stored file, however it is spelled', () => {
  const { url, media_type, name } = PNG;
  assert.deepEqual(filePart({ url, media_type, name }), PNG);
  assert.deepEqual(filePart({ uri: url, content_type: media_type, filename: name }), PNG);
  assert.deepEqual(filePart({ url }), {
    kind: 'file',
    url,
    media_type: 'application/octet-stream',
  });
});

test('blobs are read, wherever they stand', async () => {
  const bytes = Uint8Array.from({ length: 300 }, (_, index) => index % 256);
  const blob = new Blob([bytes]);
  const url = `data:application/octet-stream;base64,${Buffer.from(bytes).toString('base64')}`;
  const part = { kind: 'file', url, media_type: 'application/octet-stream' };
  assert.deepEqual(await filePart(blob), part);
  assert.deepEqual(await contentOf([{ kind: 'text', text: 'see' }, blob]), [
    { kind: 'text', text: 'see' },
    part,
  ]);
});
