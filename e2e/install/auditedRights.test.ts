import { describe, expect, it } from 'vitest';
import { type AuditEvent, type Rule, refusedRequests, unusedRights } from './auditedRights.ts';

function event(verb: string, objectRef: AuditEvent['objectRef'] & object, code = 200): AuditEvent {
  const user = { username: 'system:serviceaccount:sluice-system:sluice-operator' };
  const requestURI = `/${objectRef.resource}`;
  return { stage: 'ResponseComplete', verb, requestURI, user, objectRef, responseStatus: { code } };
}

const RULES: Rule[] = [
  { apiGroups: [''], resources: ['nodes', 'secrets'], verbs: ['get', 'list'] },
  { apiGroups: ['apps'], resources: ['deployments'], verbs: ['create', 'patch'] },
  { apiGroups: ['sluice.dev'], resources: ['origins/status'], verbs: ['patch'] },
  { apiGroups: [''], resources: ['secrets'], resourceNames: ['ca'], verbs: ['update'] },
];

describe('the rights of an account', () => {
  it('are unused where no request is like them', () => {
    const events = [
      event('get', { resource: 'secrets', namespace: 'a', name: 'b' }),
      event('list', { resource: 'nodes' }),
      event('patch', { apiGroup: 'apps', resource: 'deployments', namespace: 's', name: 'r' }, 201),
      event('patch', { apiGroup: 'sluice.dev', resource: 'origins', name: 'o' }),
      event('update', { resource: 'secrets', namespace: 's', name: 'other' }),
    ];
    expect(unusedRights(RULES, events)).toEqual([
      'get core/nodes',
      'list core/secrets',
      'patch sluice.dev/origins/status',
      'update core/secrets/ca',
    ]);
  });

  it('in a namespace are used by requests in it only', () => {
    const rules = [{ apiGroups: [''], resources: ['pods'], verbs: ['get'] }];
    const elsewhere = event('get', { resource: 'pods', namespace: 'default', name: 'p' });
    expect(unusedRights(rules, [elsewhere], 'sluice-system')).toEqual(['get core/pods']);
    const there = event('get', { resource: 'pods', namespace: 'sluice-system', name: 'p' });
    expect(unusedRights(rules, [there], 'sluice-system')).toEqual([]);
  });

  it('that were missing show as refused requests', () => {
    const events = [event('list', { resource: 'nodes' }, 403), event('get', { resource: 'pods' })];
    expect(refusedRequests(events)).toEqual(['list /nodes']);
  });
});
