/** Relays and agents of the fleet with their pods, and a plan for their node: as the control API meets them. */
import { randomUUID } from 'node:crypto';
import { generateFeedKeyPair } from '@sluice/engine/feed/keys.ts';
import type { WorkEvent } from '@sluice/protocol/client/controlClient.ts';
import type { TransferReport } from '@sluice/protocol/messages.ts';
import type { DistributionPlan } from '../../controllers/dataSide.ts';
import { aPlanOf, aRecord, aTransferReport } from '../objects.ts';
import type { TestApiServer } from './apiServer.ts';
import type { ControlSetup, TestProcess } from './controlSetup.ts';
import { createPod, type FleetPod, type FleetPodOptions } from './fleetPods.ts';

const keys = generateFeedKeyPair();

export function aPlan(
  overrides: Partial<DistributionPlan> = {},
  uid = randomUUID(),
): DistributionPlan {
  const record = aRecord({
    uid,
    feedPublicKey: keys.publicKey.toString('base64'),
    feedSeed: keys.seed.toString('base64'),
    swarmSecret: Buffer.alloc(32, 1).toString('base64'),
    relayToken: 'relay-token',
  });
  return aPlanOf(record, overrides);
}

export function aTransfer(uid: string, overrides: Partial<TransferReport> = {}): TransferReport {
  return aTransferReport({ uid, ...overrides });
}

export const RELAY = {
  kind: 'relay',
  node: 'node-r',
  domain: 'zone-a',
  address: '127.0.0.2',
} as const;
export const AGENT = { kind: 'agent', node: 'node-a', address: '127.0.0.3' } as const;

/** It opens its work stream. */
export async function startProcess(
  api: TestApiServer,
  control: ControlSetup,
  options: FleetPodOptions,
): Promise<TestProcess & { pod: FleetPod }> {
  const pod = await createPod(api.admin, options);
  const process = await control.process(options.kind, pod.token);
  process.work();
  return { ...process, pod };
}

export function toldOf<T extends WorkEvent['type']>(process: TestProcess, type: T) {
  return process.told.filter(
    (event): event is Extract<WorkEvent, { type: T }> => event.type === type,
  );
}
