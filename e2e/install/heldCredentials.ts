/** Credentials in what people may read: logs, statuses, events. */

/** What looks like a credential, whoever's it is: nothing of that form belongs into a text. */
const CREDENTIALS: Readonly<Record<string, RegExp>> = {
  // JSON Web Tokens, as of service accounts, and session tokens of the control API.
  token: /eyJ[\w-]{20,}\.[\w-]{20,}/,
  'authorization header': /\b(bearer|basic) [\w+/=.-]{16,}/i,
  'private key': /PRIVATE KEY/,
  // 32 random bytes in base64, as keys and secrets of distributions are.
  'random bytes':
    /(?<![\w+/-])(?=[\w+/-]*[A-Z])(?=[\w+/-]*[a-z])(?=[\w+/-]*\d)[\w+/-]{43}=?(?![\w+/=-])/,
};

const CERTIFICATE = /-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----/gs;

/** `<text>: <what>` of each text that holds one of these secrets, or what looks like one. */
export function heldCredentials(
  texts: ReadonlyMap<string, string>,
  secrets: readonly string[],
): string[] {
  return [...texts].flatMap(([where, whole]) => {
    const text = whole.replaceAll(CERTIFICATE, '');
    const known = secrets.filter((secret) => text.includes(secret)).map(() => 'a known secret');
    const alike = Object.entries(CREDENTIALS).flatMap(([what, pattern]) => {
      const found = pattern.exec(text)?.[0];
      return found === undefined ? [] : [`${what}: ${found.slice(0, 12)}...`];
    });
    return [...known, ...alike].map((what) => `${where}: ${what}`);
  });
}
