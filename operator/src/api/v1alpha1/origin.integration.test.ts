/** What the API server says of an Origin. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CustomResourceApi, refusalOf } from '../../testing/adapters/customResourceApi.ts';

let api: CustomResourceApi;

beforeAll(async () => {
  api = await CustomResourceApi.start();
});
afterAll(() => api?.stop());

describe('the API server', () => {
  it('accepts an Origin that is right', async () => {
    await api.create('origins', {
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
    expect(await refusalOf(api.create('origins', spec))).toMatch(message);
  });
});
