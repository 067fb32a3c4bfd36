/** A libtorrent swarm, tuned; the relays have the origin as web seed, nodes only peers. */
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { type Host, onHost } from '../links.ts';
import { FILE_NAME } from '../origin.ts';
import type { Started } from '../processes.ts';
import type { System } from '../system.ts';
import { makeTorrent, NODE_PROGRAM, PYTHON, relayUploadRate } from './torrent.ts';

export const libtorrent: System = {
  name: 'libtorrent',
  about: 'a libtorrent swarm, tuned, with the origin as web seed of the relays',
  usesRelays: true,
  prepare: async (rig) => {
    const { relays, nodes, folder, processes, origin, done } = rig;
    const torrent = await makeTorrent(rig);
    const members = new Map<string, Started>();
    const dead = new Set<string>();
    const start = async (host: Host) => {
      const own = path.join(folder, host.name);
      await mkdir(own);
      const web = host.kind === 'relay' ? [origin.url, String(relayUploadRate(host))] : [];
      const argv = [PYTHON, NODE_PROGRAM, 'run', torrent, own, host.address, ...web];
      const ready = Promise.withResolvers<void>();
      const started = processes.start(host.name, onHost(host, argv), {
        onLine: (line) => {
          if (line === 'ready') ready.resolve();
          if (line === 'done' && host.kind === 'node') done(host);
        },
      });
      members.set(host.name, started);
      void started.exit.then(() => ready.reject(new Error(`${host.name} did not start`)));
      await ready.promise;
    };
    for (const host of [...relays, ...nodes]) await start(host);
    const begun: Host[] = [];
    return {
      begin(more) {
        const joining = begun.length === 0 ? [...relays, ...more] : more;
        for (const host of joining) {
          const peers = begun.map(({ address }) => address).join(' ');
          members.get(host.name)?.child.stdin?.write(`${peers}\n`);
          begun.push(host);
        }
      },
      fileOf: ({ name }) => path.join(folder, name, FILE_NAME),
      killRelay({ name }) {
        dead.add(name);
        members.get(name)?.child.kill('SIGKILL');
      },
      pids: new Map([...members].map(([name, { child }]) => [name, child.pid ?? 0])),
      check: () => processes.check(new Set([...members.keys()].filter((name) => !dead.has(name)))),
      facts: () => ({}),
      stop: async () => {},
    };
  },
};
