/** A JSON value as a Lua expression: what Argo CD's own conversion makes of an object. */
export function luaLiteral(value: unknown): string {
  if (value === null || value === undefined) return 'nil';
  if (typeof value === 'string') return luaString(value);
  if (typeof value === 'number' || typeof value === 'boolean') return String(value);
  const parts = Array.isArray(value)
    ? value.map(luaLiteral)
    : Object.entries(value as object).map(
        ([key, part]) => `[${luaString(key)}]=${luaLiteral(part)}`,
      );
  return `{${parts.join(',')}}`;
}

/** Every byte by its number: nothing in it is special to Lua. */
function luaString(text: string): string {
  const bytes = [...Buffer.from(text, 'utf8')];
  return `"${bytes.map((byte) => `\\${String(byte).padStart(3, '0')}`).join('')}"`;
}
