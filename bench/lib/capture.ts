/**
 * The moment of a packet, by the kernel that passed it on: exact also when the observer runs late.
 * All hosts share the machine's clock.
 */
import { once } from 'node:events';
import { connect } from 'node:net';
import { type Host, outerEnd } from './links.ts';
import type { Processes } from './processes.ts';

/** Longer than any header or control message here: it carries a part of the file. */
const PAYLOAD_PACKET_BYTES = 1_000;
const FOLLOWS = 'listening on';
const READY_TIMEOUT_MS = 20_000;
const HANDSHAKES = 5;

/**
 * Resolves, once the kernel watches, to the first packet of payload that the host gets from a TCP
 * port; in milliseconds since the Unix epoch.
 */
export async function watchFirstPayload(
  host: Host,
  port: number,
  processes: Processes,
): Promise<{ readonly atMs: Promise<number> }> {
  const filter = `dst host ${host.address} and tcp src port ${port} and greater ${PAYLOAD_PACKET_BYTES}`;
  const { promise: atMs, resolve } = Promise.withResolvers<number>();
  const argv = ['tcpdump', '-i', outerEnd(host.name), '-n', '-tt', '-l', '--immediate-mode', '-c1'];
  const { child } = processes.start(`capture-${host.name}-${port}`, [...argv, filter], {
    onLine: (line) => {
      const seconds = Number(line.split(' ')[0]);
      if (Number.isFinite(seconds)) resolve(seconds * 1000);
    },
  });
  await new Promise<void>((ready, reject) => {
    const timer = setTimeout(() => reject(new Error('tcpdump does not listen')), READY_TIMEOUT_MS);
    child.stderr?.on('data', (text: Buffer) => {
      if (!text.toString().includes(FOLLOWS)) return;
      clearTimeout(timer);
      ready();
    });
  });
  return { atMs };
}

/** The shortest of some TCP handshakes with a host, over its link, in milliseconds. */
export async function roundTripMs(host: string, port: number): Promise<number> {
  const times: number[] = [];
  for (let at = 0; at < HANDSHAKES; at += 1) {
    const beganAtMs = performance.now();
    const socket = connect({ host, port });
    await once(socket, 'connect');
    times.push(performance.now() - beganAtMs);
    socket.destroy();
  }
  return Math.min(...times);
}
