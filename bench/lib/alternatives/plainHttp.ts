/** Every node takes the file from the origin with curl. */
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { type Host, onHost } from '../links.ts';
import { FILE_NAME } from '../origin.ts';
import type { Rig, RunningSystem, System } from '../system.ts';

export const plainHttp: System = {
  name: 'http',
  about: 'curl on each node, from the origin',
  usesRelays: false,
  prepare: async (rig) => ({
    ...(await curls(rig, () => [rig.origin.url])),
    killRelay: () => {},
  }),
};

/**
 * curl on each node, from the first of its sources that works; from the next one, with the rest,
 * when that fails. Begins with all that a system has but relays.
 */
export async function curls(
  { nodes, folder, processes, done }: Rig,
  sourcesOf: (node: Host) => readonly string[],
): Promise<Omit<RunningSystem, 'killRelay' | 'pids'> & { readonly pids: Map<string, number> }> {
  const fileOf = ({ name }: Host) => path.join(folder, name, FILE_NAME);
  for (const { name } of nodes) await mkdir(path.join(folder, name));
  const pids = new Map<string, number>();
  const names = new Set<string>();
  return {
    begin(begun) {
      for (const node of begun) {
        const tries = sourcesOf(node).map(
          (url) => `curl -sfS --connect-timeout 2 -C - -o ${fileOf(node)} ${url}`,
        );
        // The shell stays until it is ended, and with it the processor time of its curl.
        const script = `{ ${tries.join(' || ')}; } && echo done && read -r _`;
        const started = processes.start(node.name, onHost(node, ['sh', '-c', script]), {
          onLine: (line) => {
            if (line === 'done') done(node);
          },
        });
        names.add(node.name);
        pids.set(node.name, started.child.pid ?? 0);
      }
    },
    fileOf,
    pids,
    check: () => processes.check(names),
    facts: () => ({}),
    stop: async () => {},
  };
}
