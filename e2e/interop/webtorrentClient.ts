/** `node webtorrentClient.ts TORRENT FOLDER PORT [PEER_PORT]`: downloads what FOLDER lacks, and gives. */
import { readFileSync } from 'node:fs';
import WebTorrent from 'webtorrent';

const [torrentFile = '', folder = '', port = '', peerPort] = process.argv.slice(2);
const client = new WebTorrent({
  dht: false,
  tracker: false,
  lsd: false,
  utPex: false,
  natUpnp: false,
  natPmp: false,
  utp: false,
  webSeeds: false,
  // It encrypts otherwise, and has no other way when that is refused.
  secure: false,
  torrentPort: Number(port),
});
client.on('error', (error: unknown) => {
  console.error(error);
  process.exitCode = 1;
});
const torrent = client.add(readFileSync(torrentFile), { path: folder });
torrent.on('warning', (warning: unknown) => console.log('warning', warning));
torrent.on('wire', () => console.log('wire'));
torrent.on('done', () => console.log('done'));
if (peerPort !== undefined) {
  torrent.on('ready', () => torrent.addPeer(`127.0.0.1:${peerPort}`));
}
