/** What the API server says of a Distribution, but for its source. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { objectPath, resources } from '../../kube/paths.ts';
import {
  CustomResourceApi,
  refusalOf,
  type SpecOverrides,
  specWith,
} from '../../testing/adapters/customResourceApi.ts';
import type { Distribution } from './distribution.ts';

let api: CustomResourceApi;

beforeAll(async () => {
  api = await CustomResourceApi.start();
});
afterAll(() => api?.stop());

describe('the API server', () => {
  it('accepts a Distribution that is right', async () => {
    await api.create(
      'distributions',
      specWith({
        source: {
          url: 'http://h:8080/a%20b/c?sig=x/y&t=1',
          digest: `sha256:${'0123456789abcdef'.repeat(4)}`,
          secretRef: { name: 's' },
        },
        target: { path: '.cache/a-b_c.d', fileMode: '0755', nodeSelector: { gpu: 'yes' } },
        delivery: { minRate: '20Mi', maxRate: 209715200, maxUploadRate: '1.5Gi', topUp: [] },
      }),
    );
  });

  it.each<[string, SpecOverrides, RegExp]>([
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
    expect(await refusalOf(api.create('distributions', specWith(overrides)))).toMatch(message);
  });

  it('refuses another path later, and names both', async () => {
    const made = await api.create<Distribution>('distributions', specWith({}));
    const changed = api.server.admin.request({
      method: 'PATCH',
      path: objectPath(resources.distributions, made.metadata),
      contentType: 'application/merge-patch+json',
      body: { spec: { target: { path: 'other' } } },
    });
    expect(await refusalOf(changed)).toMatch(
      /spec\.target\.path: cannot be changed from 'models\/llama' to 'other'; make a new/,
    );
  });
});
