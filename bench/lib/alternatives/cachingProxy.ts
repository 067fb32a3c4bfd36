/**
 * nginx with proxy_cache in each relay's place, curl on the nodes, half of them at each. As good as
 * nginx can: slices of 1 MiB, so that a node need not wait until the proxy has the whole file, and
 * one request for each slice to the origin, however many nodes ask for it.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { type Host, onHost } from '../links.ts';
import { FILE_NAME, nginxConfiguration, untilAnswers } from '../origin.ts';
import type { Started } from '../processes.ts';
import type { System } from '../system.ts';
import { curls } from './plainHttp.ts';

const PORT = 8080;

export const cachingProxy: System = {
  name: 'proxy',
  about: 'nginx with proxy_cache and slices on each relay, curl on the nodes',
  usesRelays: true,
  prepare: async (rig) => {
    const { relays, nodes, folder, processes, origin } = rig;
    const proxies = new Map<string, Started>();
    for (const relay of relays) {
      const configuration = path.join(folder, `${relay.name}.conf`);
      await mkdir(path.join(folder, `${relay.name}-cache`));
      const http = proxyOf(path.join(folder, `${relay.name}-cache`), origin.host);
      await writeFile(
        configuration,
        // In one process, whose processor time can be read.
        `master_process off; ${nginxConfiguration(folder, relay.name, http)}`,
      );
      const argv = onHost(relay, ['nginx', '-c', configuration]);
      proxies.set(relay.name, processes.start(relay.name, argv));
      await untilAnswers(`http://${relay.address}:${PORT}/ready`, relay);
    }
    const running = await curls(rig, (node) => {
      const own = nodes.indexOf(node) % relays.length;
      const inOrder = [...relays.slice(own), ...relays.slice(0, own)];
      return inOrder.map(({ address }) => `http://${address}:${PORT}/${FILE_NAME}`);
    });
    for (const [name, { child }] of proxies) running.pids.set(name, child.pid ?? 0);
    return {
      ...running,
      killRelay: ({ name }) => {
        proxies.get(name)?.child.kill('SIGKILL');
      },
    };
  },
};

function proxyOf(cache: string, origin: Host): string {
  return `
    proxy_cache_path ${cache} levels=1:2 keys_zone=files:10m max_size=100g inactive=1h use_temp_path=off;
    upstream origin { server ${origin.address}; keepalive 8; }
    server {
      listen ${PORT} backlog=1024;
      location = /ready { return 204; }
      location / {
        slice 1m;
        proxy_cache files;
        proxy_cache_key $uri$slice_range;
        proxy_cache_valid 200 206 1h;
        proxy_cache_lock on;
        proxy_cache_lock_timeout 300s;
        proxy_cache_lock_age 300s;
        proxy_set_header Range $slice_range;
        proxy_set_header Connection "";
        proxy_http_version 1.1;
        proxy_pass http://origin;
      }
    }`;
}
