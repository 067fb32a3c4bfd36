/** An aria2 swarm; the relays have the origin as web seed, nodes only peers. */
import { watch } from 'node:fs';
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { type Host, onHost } from '../links.ts';
import { FILE_NAME } from '../origin.ts';
import type { Started } from '../processes.ts';
import type { System } from '../system.ts';
import { makeTorrent, relayUploadRate } from './torrent.ts';
import { PEER_PORT, startTracker } from './tracker.ts';

const OPTIONS = [
  '--no-conf',
  '--enable-dht=false',
  '--enable-peer-exchange=true',
  '--bt-max-peers=0',
  '--bt-tracker-interval=60',
  // Never enough: all peers are asked.
  '--bt-request-peer-speed-limit=1000M',
  '--seed-ratio=0',
  '--seed-time=1000',
  '--file-allocation=none',
  '--disk-cache=64M',
  '--summary-interval=0',
  '--console-log-level=warn',
  '--show-console-readout=false',
  `--listen-port=${PEER_PORT}`,
];
/** Two relays that pull in order would pull the same. */
const WEB_SEED_OPTIONS = [
  '--stream-piece-selector=random',
  '--max-connection-per-server=4',
  '--split=4',
  '--min-split-size=1M',
];

export const aria2: System = {
  name: 'aria2',
  about: 'an aria2 swarm with the origin as web seed of the relays',
  usesRelays: true,
  prepare: async (rig) => {
    const { relays, nodes, folder, processes, origin, done } = rig;
    const torrent = await makeTorrent(rig);
    const begun: Host[] = [];
    const tracker = await startTracker(() => begun);
    const doneFolder = path.join(folder, 'done');
    const hook = path.join(folder, 'done.sh');
    await mkdir(doneFolder);
    await writeFile(hook, `#!/bin/sh\n: > "${doneFolder}/$(basename "$(dirname "$3")")"\n`);
    await chmod(hook, 0o755);
    for (const { name } of [...relays, ...nodes]) await mkdir(path.join(folder, name));
    const seen = new Set<string>();
    const watcher = watch(doneFolder, (_event, name) => {
      const node = nodes.find((each) => each.name === name);
      if (node === undefined || seen.has(node.name)) return;
      seen.add(node.name);
      done(node);
    });
    const members = new Map<string, Started>();
    const pids = new Map<string, number>();
    const dead = new Set<string>();
    const start = (host: Host) => {
      const web =
        host.kind === 'relay'
          ? [...WEB_SEED_OPTIONS, `--max-overall-upload-limit=${relayUploadRate(host)}`]
          : [];
      const argv = [
        ...['aria2c', ...OPTIONS, ...web, `--dir=${path.join(folder, host.name)}`],
        ...[`--on-bt-download-complete=${hook}`, `--torrent-file=${torrent}`],
        ...(host.kind === 'relay' ? [origin.url] : []),
      ];
      const started = processes.start(host.name, onHost(host, argv));
      members.set(host.name, started);
      pids.set(host.name, started.child.pid ?? 0);
    };
    return {
      begin(more) {
        const joining = begun.length === 0 ? [...relays, ...more] : more;
        begun.push(...joining);
        for (const host of joining) start(host);
      },
      fileOf: ({ name }) => path.join(folder, name, FILE_NAME),
      killRelay({ name }) {
        dead.add(name);
        members.get(name)?.child.kill('SIGKILL');
      },
      pids,
      check: () => processes.check(new Set([...members.keys()].filter((name) => !dead.has(name)))),
      facts: () => ({}),
      stop: async () => {
        watcher.close();
        await tracker.stop();
      },
    };
  },
};
