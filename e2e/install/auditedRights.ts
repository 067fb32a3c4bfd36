/** What an account may do in the cluster, beside what the API server's audit log says that it did. */
import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';

export interface Rule {
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly resourceNames?: readonly string[];
  readonly verbs: readonly string[];
}

/** A line of the log, as far as it is looked at (audit.k8s.io/v1, level Metadata). */
export interface AuditEvent {
  readonly stage: string;
  readonly verb: string;
  readonly requestURI: string;
  readonly user: { readonly username: string };
  readonly objectRef?: {
    readonly apiGroup?: string;
    readonly resource?: string;
    readonly subresource?: string;
    readonly namespace?: string;
    readonly name?: string;
  };
  readonly responseStatus?: { readonly code?: number };
  readonly sourceIPs?: readonly string[];
  /** RFC 3339. */
  readonly requestReceivedTimestamp?: string;
}

const CREATED = 201;
const FORBIDDEN = 403;

/** `<verb> <group>/<resource>[/<name>]` of each right that no request has used. */
export function unusedRights(
  rules: readonly Rule[],
  events: readonly AuditEvent[],
  namespace?: string,
): string[] {
  const used = events.filter(({ objectRef }) => {
    return namespace === undefined || objectRef?.namespace === namespace;
  });
  return rulesApart(rules)
    .filter((right) => !used.some((event) => isUse(right, event)))
    .map(({ verb, group, resource, name }) => {
      return `${verb} ${group === '' ? 'core' : group}/${resource}${name === undefined ? '' : `/${name}`}`;
    });
}

export function refusedRequests(events: readonly AuditEvent[]): string[] {
  return events
    .filter(({ responseStatus }) => responseStatus?.code === FORBIDDEN)
    .map(({ verb, requestURI }) => `${verb} ${requestURI}`);
}

interface Right {
  readonly verb: string;
  readonly group: string;
  readonly resource: string;
  readonly name: string | undefined;
}

function rulesApart(rules: readonly Rule[]): Right[] {
  return rules.flatMap(({ apiGroups, resources, resourceNames, verbs }) =>
    apiGroups.flatMap((group) =>
      resources.flatMap((resource) =>
        verbs.flatMap((verb) =>
          (resourceNames ?? [undefined]).map((name) => ({ verb, group, resource, name })),
        ),
      ),
    ),
  );
}

function isUse({ verb, group, resource, name }: Right, event: AuditEvent): boolean {
  const { apiGroup = '', resource: plural, subresource, name: of } = event.objectRef ?? {};
  const asked = subresource === undefined ? plural : `${plural}/${subresource}`;
  if (apiGroup !== group || asked !== resource) return false;
  if (name !== undefined && of !== name) return false;
  // A server-side apply that makes the object is a patch in the log, and takes both rights.
  const made = event.verb === 'patch' && event.responseStatus?.code === CREATED;
  return event.verb === verb || (verb === 'create' && made);
}

/** Of one account, from all files of the log. */
export async function auditEventsOf(logFolder: string, username: string): Promise<AuditEvent[]> {
  const names = (await readdir(logFolder)).filter((name) => /^audit.*\.log$/.test(name));
  const events: AuditEvent[] = [];
  for (const name of names) {
    const text = await readFile(path.join(logFolder, name), 'utf8');
    // Whoever else asks is most of the log.
    const lines = text.split('\n').filter((line) => line.includes(username));
    events.push(...lines.map((line) => JSON.parse(line) as AuditEvent));
  }
  return events.filter(({ user }) => user.username === username);
}
