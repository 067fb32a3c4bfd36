/** The agent that bench/manyPeers.ts measures: all of its parts but the control server's client. */
import { once } from 'node:events';
import { NodeHttpSource } from '@sluice/engine/adapters/http/nodeHttpSource.ts';
import { systemClock } from '@sluice/engine/adapters/systemClock.ts';
import { EngineHost } from '@sluice/engine/session/host.ts';
import { AgentHost } from '@sluice/node-agent/agentHost.ts';
import { processLogger } from '@sluice/node-agent/logger.ts';
import type { Peer, Task, TransferReport } from '@sluice/protocol/messages.ts';

export interface AgentOptions {
  readonly root: string;
  readonly task: Task;
  readonly peers: readonly Peer[];
}

/** Sent ten times a second. */
export interface AgentSample {
  readonly report: TransferReport;
  readonly memory: NodeJS.MemoryUsage;
}

const SAMPLE_MS = 100;

const engine = new EngineHost({ port: 0, role: 'agent' });
await engine.start();
process.send?.(engine.port);
const [{ root, task, peers }] = (await once(process, 'message')) as [AgentOptions];
const http = new NodeHttpSource();
const host = new AgentHost(
  {
    root,
    minFreePercent: 0,
    namespaceShares: { others: { percent: 100 }, named: new Map() },
    check: { lookMs: 3_600_000, rehashMs: 3_600_000 },
  },
  {
    engine,
    client: { lease: () => Promise.reject(new Error('there is no control server here')) },
    http,
    httpSource: () => http,
    clock: systemClock,
    random: () => 0.5,
    wallClock: () => Date.now(),
    logger: processLogger('warn'),
    orphans: { list: async () => undefined, synced: async () => {} },
  },
);
const runner = host.create(task, () => {});
runner.start();
runner.setPeers([...peers]);
setInterval(() => {
  const sample: AgentSample = { report: runner.report(), memory: process.memoryUsage() };
  process.send?.(sample);
}, SAMPLE_MS);
