import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { KubeError } from '../kube/client.ts';
import { listPath, objectPath, resources } from '../kube/paths.ts';
import { startApiServer, type TestApiServer } from '../testing/adapters/apiServer.ts';
import type { Distribution } from './v1alpha1/distribution.ts';
import type { Origin } from './v1alpha1/origin.ts';

const DIGEST = `sha256:${'0123456789abcdef'.repeat(4)}`;

describe('what the API server says of custom resources', () => {
  let server: TestApiServer;
  let number = 0;

  beforeAll(async () => {
    server = await startApiServer();
  });
  afterAll(() => server?.stop());

  function create<T>(kind: 'distributions' | 'origins', spec: object): Promise<T> {
    number += 1;
    const namespace = kind === 'distributions' ? 'default' : undefined;
    const resource = resources[kind];
    return server.admin.request<T>({
      method: 'POST',
      path: listPath(resource, namespace),
      query: { fieldValidation: 'Strict' },
      body: {
        apiVersion: resource.apiVersion,
        kind: resource.kind,
        metadata: { name: `test-${number}`, ...(namespace && { namespace }) },
        spec,
      },
    });
  }

  async function refusal(attempt: Promise<unknown>): Promise<string> {
    const error: unknown = await attempt.then(
      () => undefined,
      (reason: unknown) => reason,
    );
    expect(error, 'it was accepted').toBeInstanceOf(KubeError);
    return (error as KubeError).message;
  }

  function distribution(overrides: { source?: object; target?: object; [field: string]: unknown }) {
    const { source, target, ...rest } = overrides;
    return {
      source: { url: 'https://cdn.example.com/a/model.bin', ...source },
      target: { path: 'models/llama', ...target },
      ...rest,
    };
  }

  it('fills in the defaults', async () => {
    const { spec, status } = await create<Distribution>('distributions', distribution({}));
    expect(spec).toMatchObject({
      target: { fileMode: '0644', nodeLabel: false, nodeSelector: {}, keepVersions: 1 },
      delivery: { topUp: ['Relay', 'Origin'], maxOriginShare: '10%', transport: 'Hybrid' },
      relays: { topologyKey: 'topology.kubernetes.io/zone', nodesPerRelay: 200 },
      priority: 0,
      suspend: false,
      progressDeadlineSeconds: 600,
      deletionPolicy: 'Delete',
      deletionGraceSeconds: 3600,
    });
    expect(status).toEqual({ observedGeneration: -1 });
    const origin = await create<Origin>('origins', { hosts: ['cdn.example.com'] });
    expect(origin.spec).toMatchObject({
      closeAfter: '120s',
      limits: {},
      allowPrivateAddresses: false,
      allowAgentCredentials: false,
    });
  });

  it.each(['README.md', 'docs/distribution.md', 'docs/origin.md'])(
    'accepts the examples of %s',
    async (page) => {
      const text = await readFile(path.resolve(import.meta.dirname, '../../..', page), 'utf8');
      const examples = [...text.matchAll(/```yaml\n([\s\S]*?)```/g)]
        .map(([, yaml = '']) => parse(yaml) as { kind?: string; spec: object })
        .filter(({ kind }) => kind !== undefined);
      expect(examples.length).toBeGreaterThan(1);
      for (const { kind, spec } of examples) {
        await create(kind === 'Origin' ? 'origins' : 'distributions', spec);
      }
    },
  );

  it('accepts everything that is right', async () => {
    await create(
      'distributions',
      distribution({
        source: {
          url: 'http://h:8080/a%20b/c?sig=x/y&t=1',
          digest: DIGEST,
          secretRef: { name: 's' },
        },
        target: { path: '.cache/a-b_c.d', fileMode: '0755', nodeSelector: { gpu: 'yes' } },
        delivery: { minRate: '20Mi', maxRate: 209715200, maxUploadRate: '1.5Gi', topUp: [] },
      }),
    );
    const url = 'https://cdn.example.com/models/llama/';
    const files = [
      { path: 'config.json', digest: DIGEST, sizeBytes: 0 },
      { path: 'weights/a b (1).bin' },
    ];
    await create('distributions', distribution({ source: { url, files } }));
    const filesFrom = { path: 'v2/SHA256SUMS' };
    const mirrors = ['https://mirror.example.com/', 'http://10.0.0.1:8080/models/'];
    await create('distributions', distribution({ source: { url, filesFrom, mirrors } }));
    const named = [{ path: 'a', digest: DIGEST }];
    await create('distributions', distribution({ source: { url, files: named, mirrors } }));
    await create(
      'distributions',
      distribution({ source: { digest: DIGEST, mirrors: ['https://h/other/name?key=1'] } }),
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
      await create('distributions', distribution({ source: { url: `http://${host}/a` } }));
    }
    for (const url of ['https://h:8080/@scope/a@1', 'http://[::1]:80/a:b@c', 'http://h/a?b:c@d']) {
      await create('distributions', distribution({ source: { url } }));
    }
    await create('distributions', distribution({ source: { mirrors: [] } }));
    await create('origins', {
      hosts: [
        '10.0.0.1:8080',
        '[fd00::1]',
        '[fd00::1]:65535/a',
        'a.b',
        'h:1',
        '1.2.3.4.example',
        'h-1.7z/1.2.3.256',
      ],
      limits: {
        maxConnections: 8,
        maxBandwidth: '100Mi',
        maxTraffic: { bytes: '10Ti', period: '720h' },
      },
      closeAfter: '1m30s',
    });
  });

  it.each<[string, Parameters<typeof distribution>[0], RegExp]>([
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
    ...['h:99999', 'h:65536', 'h:0', 'h:000', '[::1]:0'].map<
      [string, Parameters<typeof distribution>[0], RegExp]
    >((host) => [
      `the port of ${host}`,
      { source: { url: `https://${host}/a` } },
      /spec\.source\.url: 'https:\/\/.*\/a' has a host or port that cannot be; write .* from 1 to 65535/,
    ]),
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
    ...['.', '..', 'a/b', 'Secret'].map<[string, Parameters<typeof distribution>[0], RegExp]>(
      (name) => [
        `the Secret ${name}`,
        { source: { secretRef: { name } } },
        /spec\.source\.secretRef\.name: '.*' is not the name of a Secret; write lower-case/,
      ],
    ),
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
    [
      'a path with ..',
      { target: { path: 'a/../b' } },
      /spec\.target\.path: 'a\/\.\.\/b' has \. or \.\./,
    ],
    [
      'an absolute path',
      { target: { path: '/etc' } },
      /spec\.target\.path: '\/etc' is absolute; write/,
    ],
    [
      'an empty segment',
      { target: { path: 'a//b' } },
      /spec\.target\.path: 'a\/\/b' has an empty segment/,
    ],
    ['a slash at the end', { target: { path: 'a/' } }, /has an empty segment/],
    ['a path of Sluice', { target: { path: '.sluice/x' } }, /begins with \.sluice/],
    ['a path with odd characters', { target: { path: 'a b' } }, /characters other than/],
    [
      'a claim with a name that none can have',
      { target: { persistentVolumeClaim: 'Model_1' } },
      /spec\.target\.persistentVolumeClaim: 'Model_1' is not the name of a claim/,
    ],
    [
      'a mode that others cannot read',
      { target: { fileMode: '0640' } },
      /spec\.target\.fileMode: '0640'/,
    ],
    [
      'a negative rate',
      { delivery: { minRate: '-5Mi' } },
      /spec\.delivery\.minRate: '-5Mi' is not a rate/,
    ],
    [
      'a negative number',
      { delivery: { maxRate: -1 } },
      /spec\.delivery\.maxRate: '-1' is not a rate/,
    ],
    [
      'a rate of zero',
      { delivery: { maxUploadRate: 0 } },
      /spec\.delivery\.maxUploadRate: '0' is not a rate/,
    ],
    [
      'a rate in words',
      { delivery: { minRate: 'fast' } },
      /spec\.delivery\.minRate: 'fast' is not a rate/,
    ],
    [
      'a floor above the cap',
      { delivery: { minRate: '2Gi', maxRate: '1Gi' } },
      /spec\.delivery\.minRate: '2Gi' is more than spec\.delivery\.maxRate '1Gi'; lower/,
    ],
    [
      'a source of top-up that does not exist',
      { delivery: { topUp: ['Moon'] } },
      /spec\.delivery\.topUp\[0\]: Unsupported value: "Moon"/,
    ],
    [
      'a source of top-up twice',
      { delivery: { topUp: ['Origin', 'Origin'] } },
      /spec\.delivery\.topUp: names a source twice/,
    ],
    [
      'HTTP without a source',
      { delivery: { topUp: [], transport: 'HTTP' } },
      /spec\.delivery\.topUp: is empty while spec\.delivery\.transport is HTTP/,
    ],
    [
      'a share that is none',
      { delivery: { maxOriginShare: '110%' } },
      /spec\.delivery\.maxOriginShare.*a whole number from 0 to 100 with a percent sign/,
    ],
    [
      'a topology key that is none',
      { relays: { topologyKey: 'a b' } },
      /spec\.relays\.topologyKey: 'a b'/,
    ],
    [
      'no node per relay',
      { relays: { nodesPerRelay: 0 } },
      /nodesPerRelay.*greater than or equal to 1/,
    ],
    ['an unknown field', { delivery: { minrate: 1 } }, /unknown field "spec\.delivery\.minrate"/],
  ])('refuses %s', async (_name, overrides, message) => {
    expect(await refusal(create('distributions', distribution(overrides)))).toMatch(message);
  });

  it.each([
    'http://me:hidden@h/a',
    'http://me:hid/hidden@h/a',
    'https://me:12345678/hidden@h/',
    'http://me:hid?hidden@h/a',
    'http://me:hid#hidden@h/a b',
    'ftp://me:hid/hidden@h/a',
  ])('refuses credentials in a URL and does not repeat them: %s', async (url) => {
    const message = await refusal(create('distributions', distribution({ source: { url } })));
    expect(message).toMatch(/put them into a Secret and name it in spec\.source\.secretRef/);
    expect(message).not.toContain('hidden');
  });

  it('refuses another path later, and names both', async () => {
    const made = await create<Distribution>('distributions', distribution({}));
    const changed = server.admin.request({
      method: 'PATCH',
      path: objectPath(resources.distributions, made.metadata),
      contentType: 'application/merge-patch+json',
      body: { spec: { target: { path: 'other' } } },
    });
    expect(await refusal(changed)).toMatch(
      /spec\.target\.path: cannot be changed from 'models\/llama' to 'other'; make a new/,
    );
  });

  it.each<[string, object, RegExp]>([
    [
      'a host with a scheme',
      { hosts: ['https://h'] },
      /spec\.hosts: 'https:\/\/h' is not a host; write/,
    ],
    [
      'a path that leaves its prefix',
      { hosts: ['h/a/../b'] },
      /spec\.hosts: 'h\/a\/\.\.\/b' is not a host/,
    ],
    [
      'a window that begins at no time',
      { hosts: ['h'], schedule: [{ from: '24:30', to: '06:00', limits: { maxConnections: 1 } }] },
      /spec\.schedule\.from: '24:30' is not a time of the day; write/,
    ],
    [
      'a window without a limit',
      { hosts: ['h'], schedule: [{ from: '22:00', to: '06:00', limits: {} }] },
      /spec\.schedule\.limits: names no limit; write/,
    ],
    ...['h:99999', 'h:65536', 'h:0', 'h:080', '[::1]:70000/a'].map<[string, object, RegExp]>(
      (host) => [
        `the port of ${host}`,
        { hosts: [host] },
        /spec\.hosts: '.*' has a port that cannot be; write one from 1 to 65535/,
      ],
    ),
    ...['1.2.3.256', '1.2.3', '0x7f.1:80', 'h..x', '[::::]', '[1::2::3]/a', '[fd00:0::1]'].map<
      [string, object, RegExp]
    >((host) => [
      `the host ${host}`,
      { hosts: [host] },
      /spec\.hosts: '.*' has a host that cannot be; write/,
    ]),
    [
      'a prefix with a hidden segment',
      { hosts: ['h/.well-known'] },
      /'h\/\.well-known' is not a host; .* no segment may begin with a dot/,
    ],
    ['an upper-case host', { hosts: ['CDN'] }, /lower-case/],
    ['no host', { hosts: [] }, /spec\.hosts.*at least 1/],
    ['a host twice', { hosts: ['h', 'h'] }, /Duplicate value: "h"/],
    [
      'no connection',
      { hosts: ['h'], limits: { maxConnections: 0 } },
      /maxConnections.*greater than or equal to 1/,
    ],
    [
      'a negative bandwidth',
      { hosts: ['h'], limits: { maxBandwidth: '-1' } },
      /spec\.limits\.maxBandwidth: '-1' is not a rate/,
    ],
    [
      'traffic without a period',
      { hosts: ['h'], limits: { maxTraffic: { bytes: '1Gi' } } },
      /period.*Required/,
    ],
    [
      'a period of days',
      { hosts: ['h'], limits: { maxTraffic: { bytes: '1Gi', period: '30d' } } },
      /spec\.limits\.maxTraffic\.period: '30d' is not a duration/,
    ],
    [
      'a period that is too short',
      { hosts: ['h'], limits: { maxTraffic: { bytes: 1, period: '1s' } } },
      /from 1h to 8784h/,
    ],
  ])('refuses an Origin with %s', async (_name, spec, message) => {
    expect(await refusal(create('origins', spec))).toMatch(message);
  });

  it('shows the columns of the design', async () => {
    const table = await server.admin.request<{
      columnDefinitions: { name: string; priority: number }[];
    }>({
      method: 'GET',
      path: listPath(resources.distributions),
      accept: 'application/json;as=Table;v=v1;g=meta.k8s.io',
    });
    const names = (priority: number) =>
      table.columnDefinitions.filter((column) => column.priority === priority).map((c) => c.name);
    expect(names(0)).toEqual(['Name', 'Ready', 'Nodes', 'Progress', 'Size', 'Peers', 'ETA', 'Age']);
    expect(names(1)).toEqual(['Rate', 'Failed', 'Message']);
  });
});
