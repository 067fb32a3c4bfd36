/** What goes wrong in bench/floor.ts, as data and commands. */
import { run } from '../../e2e/cluster/run.ts';
import { type Host, onHost, setLink } from './links.ts';
import type { Rig, RunningSystem } from './system.ts';

export interface Episode {
  readonly name: string;
  readonly about: string;
  readonly begin: (rig: Rig, running: RunningSystem) => Promise<void>;
}

const BITTORRENT_PORT = 6881;

export const EPISODES: readonly Episode[] = [
  {
    name: 'refused',
    about: 'BitTorrent connections are refused; relays help',
    begin: ({ relays, nodes }) => block([...relays, ...nodes], 'REJECT --reject-with tcp-reset'),
  },
  {
    name: 'blackHoled',
    about: 'BitTorrent packets vanish; relays help',
    begin: ({ relays, nodes }) => block([...relays, ...nodes], 'DROP'),
  },
  {
    name: 'relayDead',
    about: 'BitTorrent packets vanish and the relay is killed; the origin helps',
    begin: async ({ relays, nodes }, running) => {
      for (const relay of relays) running.killRelay(relay);
      await block([...relays, ...nodes], 'DROP');
    },
  },
  {
    name: 'relaySlow',
    about: "BitTorrent packets vanish and the relay's link falls to a tenth; both help",
    begin: async ({ relays, nodes }) => {
      await block([...relays, ...nodes], 'DROP');
      for (const relay of relays) {
        await setLink(relay, { down: relay.link.down, up: relay.link.up / 10 });
      }
    },
  },
];

/** Both ways, also what is open already. */
async function block(hosts: readonly Host[], target: string): Promise<void> {
  await Promise.all(
    hosts.map((host) => {
      const rules = ['INPUT', 'OUTPUT'].flatMap((chain) =>
        ['--dport', '--sport'].map(
          (end) => `iptables -A ${chain} -p tcp ${end} ${BITTORRENT_PORT} -j ${target}`,
        ),
      );
      const [program = '', ...args] = onHost(host, ['sh', '-ec', rules.join('\n')]);
      return run(program, args);
    }),
  );
}
