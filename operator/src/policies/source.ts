/** How a file is called on the nodes. */

/**
 * The name that the file gets on the nodes: the last segment of the URL, decoded unless that would
 * make it unsafe. Undefined when the URL names no file.
 */
export function fileNameOf(url: string): string | undefined {
  const parsed = URL.parse(url);
  if (parsed === null || !/^https?:$/.test(parsed.protocol)) return undefined;
  const raw = parsed.pathname.slice(parsed.pathname.lastIndexOf('/') + 1);
  if (raw === '') return undefined;
  const decoded = decode(raw);
  const name = decoded !== undefined && isSafeName(decoded) ? decoded : raw;
  return isSafeName(name) && new TextEncoder().encode(name).length <= 255 ? name : undefined;
}

function decode(segment: string): string | undefined {
  try {
    return decodeURIComponent(segment);
  } catch {
    return undefined;
  }
}

function isSafeName(name: string): boolean {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not be in a name
  return name !== '' && name !== '.' && name !== '..' && !/[/\\\u0000-\u001f\u007f]/.test(name);
}
