/** What the API server says of `spec.source` of a Distribution. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  CustomResourceApi,
  refusalOf,
  type SpecOverrides,
  specWith,
} from '../../testing/adapters/customResourceApi.ts';

const DIGEST = `sha256:${'0123456789abcdef'.repeat(4)}`;

let api: CustomResourceApi;

beforeAll(async () => {
  api = await CustomResourceApi.start();
});
afterAll(() => api?.stop());

describe('the API server', () => {
  it('accepts sources that are right', async () => {
    const url = 'https://cdn.example.com/models/llama/';
    const files = [
      { path: 'config.json', digest: DIGEST, sizeBytes: 0 },
      { path: 'weights/a b (1).bin' },
    ];
    await api.create('distributions', specWith({ source: { url, files } }));
    const filesFrom = { path: 'v2/SHA256SUMS' };
    const mirrors = ['https://mirror.example.com/', 'http://10.0.0.1:8080/models/'];
    await api.create('distributions', specWith({ source: { url, filesFrom, mirrors } }));
    const named = [{ path: 'a', digest: DIGEST }];
    await api.create('distributions', specWith({ source: { url, files: named, mirrors } }));
    await api.create(
      'distributions',
      specWith({ source: { digest: DIGEST, mirrors: ['https://h/other/name?key=1'] } }),
    );
    for (const host of [
      '1.2.3.4',
      'h:65535',
      'h:080',
      'h:',
      'h.',
      '[::1]:8080',
      'xn--bcher-kva.example',
      'h-1.7z',
    ]) {
      await api.create('distributions', specWith({ source: { url: `http://${host}/a` } }));
    }
    for (const url of ['https://h:8080/@scope/a@1', 'http://[::1]:80/a:b@c', 'http://h/a?b:c@d']) {
      await api.create('distributions', specWith({ source: { url } }));
    }
    await api.create('distributions', specWith({ source: { mirrors: [] } }));
  });

  it.each<[string, SpecOverrides, RegExp]>([
    [
      'a URL of another scheme',
      { source: { url: 'ftp://h/a' } },
      /spec\.source\.url: 'ftp:\/\/h\/a' does not begin with http/,
    ],
    [
      'a URL that is none',
      { source: { url: 'model.bin' } },
      /spec\.source\.url: 'model\.bin' does not begin/,
    ],
    [
      'a URL without a file',
      { source: { url: 'http://h/a/' } },
      /spec\.source\.url: 'http:\/\/h\/a\/' does not name a file; write/,
    ],
    ['a URL with ..', { source: { url: 'http://h/../a' } }, /does not name a file/],
    ['a URL with a fragment', { source: { url: 'http://h/a#b' } }, /does not name a file/],
    ...['h:99999', 'h:65536', 'h:0', 'h:000', '[::1]:0'].map<[string, SpecOverrides, RegExp]>(
      (host) => [
        `the port of ${host}`,
        { source: { url: `https://${host}/a` } },
        /spec\.source\.url: 'https:\/\/.*\/a' has a host or port that cannot be; write .* from 1 to 65535/,
      ],
    ),
    ['a place holder', { source: { url: 'https://<host>/a' } }, /has a host or port that cannot/],
    ['an address of five', { source: { url: 'https://1.2.3.4.5/a' } }, /has a host or port/],
    ['an address over 255', { source: { url: 'https://1.2.3.256/a' } }, /has a host or port/],
    [
      'a folder at no port',
      { source: { url: 'https://h:x/', files: [{ path: 'a' }] } },
      /has a host or port that cannot be/,
    ],
    [
      'a mirror at no port',
      { source: { digest: DIGEST, mirrors: ['http://h:70000/a'] } },
      /spec\.source\.mirrors\[\]: 'http:\/\/h:70000\/a' has a host or port/,
    ],
    ['a URL with a space', { source: { url: 'http://h/a b' } }, /percent-encode/],
    [
      'a short digest',
      { source: { digest: 'sha256:abc' } },
      /spec\.source\.digest: 'sha256:abc' is not a SHA-256 digest; write/,
    ],
    ...['.', '..', 'a/b', 'Secret'].map<[string, SpecOverrides, RegExp]>((name) => [
      `the Secret ${name}`,
      { source: { secretRef: { name } } },
      /spec\.source\.secretRef\.name: '.*' is not the name of a Secret; write lower-case/,
    ]),
    ['an upper-case digest', { source: { digest: DIGEST.toUpperCase() } }, /spec\.source\.digest/],
    [
      'a set of a file',
      { source: { files: [{ path: 'a' }] } },
      /spec\.source\.url: 'https:\/\/cdn.example.com\/a\/model\.bin' is not a folder, .*with a slash at the end/,
    ],
    [
      'a set without files',
      { source: { url: 'http://h/a/', files: [] } },
      /spec\.source\.files: is empty; name files/,
    ],
    [
      'a file of a set twice',
      { source: { url: 'http://h/a/', files: [{ path: 'a' }, { path: 'a' }] } },
      /spec\.source\.files\[1\]: Duplicate value: \{"path":"a"\}/,
    ],
    [
      'a file of a set that is elsewhere',
      { source: { url: 'http://h/a/', files: [{ path: '../b' }] } },
      /spec\.source\.files\[\]\.path: '\.\.\/b' is not a path in the folder/,
    ],
    [
      'an absolute path in a set',
      { source: { url: 'http://h/a/', files: [{ path: '/etc/passwd' }] } },
      /'\/etc\/passwd' is not a path in the folder/,
    ],
    [
      'a backslash in a set',
      { source: { url: 'http://h/a/', files: [{ path: 'a\\b' }] } },
      /cannot be the path of a file on a node/,
    ],
    [
      'the folder of versions in a set',
      { source: { url: 'http://h/a/', files: [{ path: '.sluice/x' }] } },
      /cannot be the path of a file on a node/,
    ],
    [
      'a list that is elsewhere',
      { source: { url: 'http://h/a/', filesFrom: { path: 'a/../../SUMS' } } },
      /spec\.source\.filesFrom\.path: 'a\/\.\.\/\.\.\/SUMS' is not a path/,
    ],
    [
      'files beside a list',
      { source: { url: 'http://h/a/', files: [{ path: 'a' }], filesFrom: { path: 'SUMS' } } },
      /spec\.source\.filesFrom: stands beside spec\.source\.files; keep/,
    ],
    [
      'the digest of a set',
      { source: { url: 'http://h/a/', files: [{ path: 'a' }], digest: DIGEST } },
      /spec\.source\.digest: is that of one file, and there is a set/,
    ],
    [
      'a mirror of another scheme',
      { source: { digest: DIGEST, mirrors: ['ftp://h/a'] } },
      /spec\.source\.mirrors\[\]: 'ftp:\/\/h\/a' does not begin with http/,
    ],
    [
      'a mirror with a password',
      { source: { digest: DIGEST, mirrors: ['http://me:secret@h/a'] } },
      /spec\.source\.mirrors\[\]: the URL holds a user name or password/,
    ],
    [
      'a mirror that is a folder',
      { source: { digest: DIGEST, mirrors: ['http://h/a/'] } },
      /spec\.source\.mirrors: one of them does not name a file/,
    ],
    [
      'a mirror of a set that is a file',
      {
        source: {
          url: 'http://h/a/',
          files: [{ path: 'a', digest: DIGEST }],
          mirrors: ['http://h/b'],
        },
      },
      /spec\.source\.mirrors: one of them is not a folder/,
    ],
    [
      'a mirror twice',
      { source: { digest: DIGEST, mirrors: ['http://h/b', 'http://h/b'] } },
      /spec\.source\.mirrors\[1\]: Duplicate value/,
    ],
    [
      'the source as its mirror',
      { source: { url: 'http://h/b', digest: DIGEST, mirrors: ['http://h/b'] } },
      /spec\.source\.mirrors: names spec\.source\.url again/,
    ],
    [
      'a mirror without a digest',
      { source: { mirrors: ['http://h/b'] } },
      /spec\.source\.mirrors: only a digest tells/,
    ],
    [
      'a mirror of a set of which not all digests are named',
      {
        source: {
          url: 'http://h/a/',
          files: [{ path: 'a', digest: DIGEST }, { path: 'b' }],
          mirrors: ['http://h/b/'],
        },
      },
      /spec\.source\.mirrors: only a digest tells/,
    ],
  ])('refuses %s', async (_name, overrides, message) => {
    expect(await refusalOf(api.create('distributions', specWith(overrides)))).toMatch(message);
  });

  it.each([
    'http://me:hidden@h/a',
    'http://me:hid/hidden@h/a',
    'https://me:12345678/hidden@h/',
    'http://me:hid?hidden@h/a',
    'http://me:hid#hidden@h/a b',
    'ftp://me:hid/hidden@h/a',
  ])('refuses credentials in a URL and does not repeat them: %s', async (url) => {
    const message = await refusalOf(api.create('distributions', specWith({ source: { url } })));
    expect(message).toMatch(/put them into a Secret and name it in spec\.source\.secretRef/);
    expect(message).not.toContain('hidden');
  });
});
