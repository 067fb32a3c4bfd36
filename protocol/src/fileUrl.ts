/** The one file, or with a folder's URL the file in it. */
export function fileUrlOf(url: string, path: string): string {
  if (!url.endsWith('/')) return url;
  return new URL(path.split('/').map(encodeURIComponent).join('/'), url).href;
}
