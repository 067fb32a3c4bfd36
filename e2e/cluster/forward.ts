/** Ways from the machine's loopback interface into a network of the sandbox. */
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { CONTROL } from './network.ts';
import type { Sandbox } from './sandbox.ts';

const LISTEN_TIMEOUT_MS = 10_000;

let forwards = 0;

/**
 * A TCP port on 127.0.0.1 of the machine that leads to an address in the cluster. Two processes in
 * the sandbox, one in each network, meet at a unix socket; they end with the sandbox, or when the
 * returned function is called.
 */
export async function forwardPort(
  sandbox: Sandbox,
  options: { stateFolder: string; port: number; target: string; targetPort: number },
): Promise<() => Promise<void>> {
  forwards += 1;
  const socket = `/run/sluice/forward-${process.pid}-${forwards}.sock`;
  const log = path.join(options.stateFolder, 'logs/forward.log');
  const fork = 'fork,backlog=128';
  const inner = await sandbox.daemon(CONTROL, 'socat', log, 'socat', [
    `UNIX-LISTEN:${socket},${fork}`,
    `TCP:${options.target}:${options.targetPort},connect-timeout=10`,
  ]);
  const outer = await sandbox.daemonOnHostNetwork('socat', log, 'socat', [
    `TCP-LISTEN:${options.port},bind=127.0.0.1,reuseaddr,${fork}`,
    // It may start before the other one listens.
    `UNIX-CONNECT:${socket},retry=50,interval=0.1`,
  ]);
  await untilListening(options.port);
  return async () => {
    await outer.stop();
    await inner.stop();
  };
}

/** By the kernel's list: a connection to see would go on to the target. */
async function untilListening(port: number): Promise<void> {
  const socket = `0100007F:${port.toString(16).toUpperCase().padStart(4, '0')} 00000000:0000 0A`;
  const deadline = performance.now() + LISTEN_TIMEOUT_MS;
  while (!(await readFile('/proc/net/tcp', 'utf8')).includes(socket)) {
    if (performance.now() > deadline) throw new Error(`socat does not listen on port ${port}`);
    await sleep(20);
  }
}

/** A TCP port on 127.0.0.1 that nobody uses just now. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      const port = typeof address === 'object' && address !== null ? address.port : 0;
      server.close(() => resolve(port));
    });
  });
}
