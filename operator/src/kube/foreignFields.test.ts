import { describe, expect, it } from 'vitest';
import { fieldsThatStay, foreignFields, textAt } from './foreignFields.ts';

/** As an API server keeps it: ours names replicas, one container with an env, and a label. */
const OURS = {
  manager: 'sluice-operator',
  fieldsV1: {
    'f:spec': {
      'f:replicas': {},
      'f:template': {
        'f:metadata': { 'f:labels': { 'f:app': {} } },
        'f:spec': {
          'f:containers': {
            'k:{"name":"relay"}': {
              '.': {},
              'f:name': {},
              'f:env': { 'k:{"name":"OURS"}': { '.': {}, 'f:name': {}, 'f:value': {} } },
            },
          },
        },
      },
    },
  },
};
const container = (more: object = {}) => ({
  name: 'relay',
  env: [{ name: 'EVIL' }, { name: 'OURS', value: '1' }, { name: 'WORSE' }],
  ...more,
});

function foreign(template: object, spec: object = {}, more: object = {}) {
  const managedFields = [
    OURS,
    { manager: 'kubectl-edit', fieldsV1: { 'f:spec': { 'f:template': template, ...spec } } },
    { manager: 'kube-controller-manager', fieldsV1: { 'f:status': { 'f:replicas': {} } } },
  ];
  const live = {
    paused: true,
    replicas: 1,
    template: {
      metadata: {
        labels: { app: 'x' },
        annotations: { 'kubectl.kubernetes.io/restartedAt': 'now', 'a/b': 'c' },
      },
      spec: {
        hostPID: true,
        affinity: { nodeAffinity: {} },
        dnsPolicy: 'ClusterFirst',
        containers: [container(), { name: 'evil' }],
        ...more,
      },
    },
  };
  return foreignFields({ metadata: { managedFields }, spec: live });
}

describe('what others have added', () => {
  it.each([
    ['a field', {}, { 'f:paused': {} }, ['/spec/paused']],
    ['a field of pods', { 'f:spec': { 'f:hostPID': {} } }, {}, ['/spec/template/spec/hostPID']],
    [
      'a tree, from its top',
      { 'f:spec': { 'f:affinity': { 'f:nodeAffinity': { '.': {} } } } },
      {},
      ['/spec/template/spec/affinity'],
    ],
    [
      'a container, and variables of ours, from the end',
      {
        'f:spec': {
          'f:containers': {
            'k:{"name":"relay"}': {
              'f:env': { 'k:{"name":"EVIL"}': {}, 'k:{"name":"WORSE"}': {} },
            },
            'k:{"name":"evil"}': { '.': {}, 'f:image': {} },
          },
        },
      },
      {},
      [
        '/spec/template/spec/containers/1',
        '/spec/template/spec/containers/0/env/2',
        '/spec/template/spec/containers/0/env/0',
      ],
    ],
    [
      'an annotation of pods, but not that of a restart',
      {
        'f:metadata': {
          'f:annotations': { '.': {}, 'f:kubectl.kubernetes.io/restartedAt': {}, 'f:a/b': {} },
        },
      },
      {},
      ['/spec/template/metadata/annotations/a~1b'],
    ],
    [
      'nothing, where they own what we name, too, or what is not there any more',
      { 'f:spec': { 'f:shareProcessNamespace': {} } },
      { 'f:replicas': {} },
      [],
    ],
  ])('is %s', (_what, template, spec, expected) => {
    expect(foreign(template, spec)).toEqual(expected);
  });

  it('is nothing of what webhooks add to what is applied: it is ours by name', () => {
    const injected = { 'f:spec': { 'f:template': { 'f:spec': { 'f:hostPID': {} } } } };
    const managedFields = [OURS, { manager: 'sluice-operator', fieldsV1: injected }];
    const spec = { template: { spec: { hostPID: true } } };
    expect(foreignFields({ metadata: { managedFields }, spec })).toEqual([]);
  });

  it('is not to be told where nothing was applied', () => {
    const managedFields = [{ manager: 'someone', fieldsV1: { 'f:spec': { 'f:paused': {} } } }];
    const object = { metadata: { managedFields }, spec: { paused: true } };
    expect(foreignFields(object)).toEqual([]);
    expect(foreignFields({ metadata: {} })).toEqual([]);
  });
});

describe('what stays after it was removed', () => {
  const answer = {
    metadata: {
      managedFields: [
        OURS,
        {
          manager: 'before-first-apply',
          fieldsV1: { 'f:spec': { 'f:paused': {}, 'f:strategy': {}, 'f:replicas': {} } },
        },
      ],
    },
    spec: { paused: true, replicas: 1, strategy: { type: 'Recreate' } },
  };

  it("is what was removed and is a stranger's still, as it is there", () => {
    const removed = ['/spec/strategy', '/spec/gone', '/spec/replicas'];
    expect([...fieldsThatStay(removed, answer)]).toEqual([
      ['/spec/strategy', '{"type":"Recreate"}'],
    ]);
  });

  it('is found by its pointer, also where a name has slashes', () => {
    const spec = { list: [{ 'a/b~c': 1 }] };
    expect(textAt({ metadata: {}, spec }, '/spec/list/0/a~1b~0c')).toBe('1');
  });
});
