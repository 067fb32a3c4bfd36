/** The stock clients, how each is started, and what it can. */
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { ClientProcess } from './clientProcess.ts';
import { withTracker } from './localTracker.ts';

export const VERSIONS = ['v1', 'v2', 'hybrid'] as const;
export type Version = (typeof VERSIONS)[number];

export interface ClientStart {
  readonly torrent: Uint8Array;
  /** What it has and what it gets; a torrent's own folder comes into it. */
  readonly folder: string;
  /** For itself: settings and the like. */
  readonly scratch: string;
  /** It listens there. */
  readonly port: number;
  /** It is to call this peer; undefined: it is called. */
  readonly peerPort: number | undefined;
  /** Names that peer. */
  readonly trackerUrl: string | undefined;
}

export interface StockClient {
  readonly name: string;
  /** What it cannot, and why. */
  readonly cannot: Partial<Record<Version, string>>;
  /** Why files of no bytes may be missing of what it got. */
  readonly leavesOutEmpty?: string;
  /** Why it does not call the engine, which then calls it. */
  readonly isCalled?: string;
  start(options: ClientStart): Promise<ClientProcess>;
}

/** Debian's, for which its libtorrent is made, whatever else is on the path. */
export const PYTHON = '/usr/bin/python3';
export const LIBTORRENT_CLIENT = path.join(import.meta.dirname, 'libtorrentClient.py');
const WEBTORRENT_CLIENT = path.join(import.meta.dirname, 'webtorrentClient.ts');

export const CLIENTS: readonly StockClient[] = [
  {
    name: 'aria2',
    cannot: {
      v2: 'aria2 1.36 knows version 1 only',
      // The empty keys of the file tree are lost when it encodes the info dictionary again.
      hybrid: 'aria2 1.36 computes another info hash than every other client',
    },
    start: async (options) => {
      const torrent = await writeTorrent(options);
      return new ClientProcess('aria2c', [
        ...['--no-conf', '--enable-dht=false', '--enable-dht6=false', '--disable-ipv6=true'],
        ...['--bt-enable-lpd=false', '--enable-peer-exchange=false', '--check-integrity=true'],
        ...[
          '--seed-ratio=0',
          '--seed-time=1000',
          '--file-allocation=none',
          '--bt-tracker-timeout=5',
        ],
        ...['--interface=127.0.0.1', '--summary-interval=0', '--console-log-level=info'],
        ...[`--listen-port=${options.port}`, `--dir=${options.folder}`, torrent],
      ]);
    },
  },
  {
    name: 'libtorrent',
    cannot: {},
    start: async (options) => {
      const torrent = await writeTorrent(options);
      const { folder, port, peerPort } = options;
      const peer = peerPort === undefined ? [] : [String(peerPort)];
      const args = [LIBTORRENT_CLIENT, 'run', torrent, folder, String(port), ...peer];
      return new ClientProcess(PYTHON, args);
    },
  },
  {
    name: 'transmission',
    cannot: {
      v2: 'transmission 3.00 knows version 1 only',
      hybrid: 'transmission 3.00 cannot parse the empty keys of a file tree: "Error parsing"',
    },
    leavesOutEmpty: 'transmission 3.00 makes no file before it has bytes for it',
    isCalled: 'transmission believes no tracker that names a loopback address',
    start: async (options) => {
      const torrent = await writeTorrent(options);
      const settings = path.join(options.scratch, 'transmission');
      await mkdir(settings, { recursive: true });
      await writeFile(
        path.join(settings, 'settings.json'),
        JSON.stringify({
          'bind-address-ipv4': '127.0.0.1',
          'dht-enabled': false,
          'lpd-enabled': false,
          'pex-enabled': false,
          'utp-enabled': false,
          'port-forwarding-enabled': false,
          'peer-port-random-on-start': false,
        }),
      );
      return new ClientProcess('transmission-cli', [
        ...['--config-dir', settings, '--download-dir', options.folder],
        ...['--port', String(options.port), '--no-portmap', torrent],
      ]);
    },
  },
  {
    name: 'webtorrent',
    cannot: { v2: 'webtorrent 3 knows version 1 only' },
    leavesOutEmpty: 'webtorrent 3 makes no file of no bytes that stands behind a pad',
    start: async (options) => {
      const torrent = await writeTorrent(options);
      const { folder, port, peerPort } = options;
      const peer = peerPort === undefined ? [] : [String(peerPort)];
      const args = [WEBTORRENT_CLIENT, torrent, folder, String(port), ...peer];
      return new ClientProcess(process.execPath, args);
    },
  },
];

async function writeTorrent({ torrent, scratch, trackerUrl }: ClientStart): Promise<string> {
  const file = path.join(scratch, 'client.torrent');
  await writeFile(file, trackerUrl === undefined ? torrent : withTracker(torrent, trackerUrl));
  return file;
}
