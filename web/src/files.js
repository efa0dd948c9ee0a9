/**
 * What a page calls content and files, as parts of the wire: `File` and `Blob` become `data:` URLs.
 *
 * A frame has a limit (`welcome.limits.max_frame_bytes`): upload what is larger, and send its URL.
 */

/** @typedef {import('./types.js').Part} Part */
/** @typedef {Extract<Part, {kind: 'file'}>} FilePart */

/**
 * @typedef {Blob | FilePart | {url?: string, uri?: string, media_type?: string,
 *   content_type?: string, name?: string, filename?: string}} FileLike a file of the page, or the
 *   URL of one that is stored somewhere
 */

/** @typedef {string | readonly (Part | Blob)[]} Content */

/**
 * @param {FileLike} file
 * @returns {FilePart | Promise<FilePart>}
 */
export function filePart(file) {
  if (file instanceof Blob) return embedded(file);
  const { url, uri, media_type, content_type, name, filename } = /** @type {any} */ (file);
  const called = name ?? filename;
  return {
    kind: 'file',
    url: url ?? uri,
    media_type: media_type ?? content_type ?? 'application/octet-stream',
    ...(called ? { name: called } : {}),
  };
}

/**
 * The content of a message; a promise only where there are files to read.
 * @param {Content} content
 * @param {readonly FileLike[]} [files]
 * @returns {string | Part[] | Promise<Part[]>}
 */
export function contentOf(content, files = []) {
  if (typeof content === 'string' && !files.length) return content;
  const own = typeof content === 'string' ? textParts(content) : content;
  const parts = [
    ...own.map((part) => (part instanceof Blob ? embedded(part) : part)),
    ...files.map(filePart),
  ];
  return parts.some((part) => part instanceof Promise)
    ? Promise.all(parts)
    : /** @type {Part[]} */ (parts);
}

/**
 * @param {string} text
 * @returns {Part[]}
 */
export function textParts(text) {
  return text ? [{ kind: 'text', text }] : [];
}

/**
 * @param {Blob} blob
 * @returns {Promise<FilePart>}
 */
async function embedded(blob) {
  const bytes = new Uint8Array(await blob.arrayBuffer());
  let binary = '';
  for (const byte of bytes) binary += String.fromCharCode(byte);
  const media_type = blob.type || 'application/octet-stream';
  const name = /** @type {{name?: string}} */ (blob).name;
  const url = `data:${media_type};base64,${btoa(binary)}`;
  return { kind: 'file', url, media_type, ...(name ? { name } : {}) };
}
