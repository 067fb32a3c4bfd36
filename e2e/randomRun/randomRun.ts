/**
 * A cluster with Sluice to which random things happen: Distributions are applied, edited and
 * deleted, nodes cordoned and drained, processes killed and evicted, often in mid-transfer. After
 * some of them it is left alone, and then cluster, database and disks must say what was asked for.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { SeededRandom } from '@sluice/engine/sim/seededRandom.ts';
import type { Sluice } from '../install/sluice.ts';
import { act, type Digests } from './act.ts';
import { differences } from './differences.ts';
import { after, describeStep, emptyWorld, nextStep, type Step, type World } from './world.ts';

export interface RandomRunOptions {
  readonly seed: number;
  readonly steps: number;
  /** So many steps, and then a rest. */
  readonly stepsBetweenRests: number;
  readonly log: (line: string) => void;
  readonly signal?: AbortSignal;
}

export interface Rest {
  readonly afterSteps: number;
  readonly seconds: number;
  /** What was not as it should be when the time was over. */
  readonly differences: readonly string[];
}

const MAX_PAUSE_MS = 3_000;
/** A process that was killed often is started again after minutes. */
const REST_TIMEOUT_MS = 300_000;
const POLL_MS = 2_000;

export class RandomRun {
  readonly #sluice: Sluice;
  readonly #options: RandomRunOptions;
  readonly #random: SeededRandom;
  readonly #digests: Digests = { of: new Map() };
  readonly #gone = new Set<string>();
  #world: World;

  constructor(sluice: Sluice, options: RandomRunOptions) {
    this.#sluice = sluice;
    this.#options = options;
    this.#random = new SeededRandom(options.seed);
    const { nodes } = sluice.cluster;
    const zones = [...new Set(nodes.map(({ zone }) => zone))];
    this.#world = emptyWorld(
      nodes.map(({ name }) => name),
      zones,
    );
  }

  /** All rests, the last one after everything was deleted; ends at the first with differences. */
  async play(): Promise<Rest[]> {
    const { steps, stepsBetweenRests } = this.#options;
    const rests: Rest[] = [];
    for (let at = 1; at <= steps; at += 1) {
      await this.#step(nextStep(this.#world, this.#random), at);
      if (at % stepsBetweenRests === 0 || at === steps) rests.push(await this.#rest(at));
      if (rests.at(-1)?.differences.length) return rests;
    }
    const { cordoned, wanted } = this.#world;
    if (cordoned !== undefined) await this.#step({ kind: 'uncordon', node: cordoned }, steps);
    for (const name of wanted.keys()) await this.#step({ kind: 'delete', name }, steps);
    return [...rests, await this.#rest(steps)];
  }

  async #step(step: Step, at: number): Promise<void> {
    const { log, signal } = this.#options;
    signal?.throwIfAborted();
    log(`${at}: ${describeStep(step)}`);
    if (step.kind === 'delete') {
      this.#gone.add((await this.#sluice.distribution(step.name)).metadata.uid);
    }
    this.#world = after(this.#world, step);
    const name = step.kind === 'apply' ? step.wanted.name : 'name' in step ? step.name : '';
    await act(this.#sluice, step, this.#world.wanted.get(name), this.#digests);
    const pauseMs = this.#random.below(MAX_PAUSE_MS);
    await sleep(pauseMs, undefined, signal && { signal });
  }

  async #rest(afterSteps: number): Promise<Rest> {
    const { log, signal } = this.#options;
    const beganAtMs = performance.now();
    const seconds = () => (performance.now() - beganAtMs) / 1000;
    for (;;) {
      // The API server or the database may not answer while something of it was killed just now.
      const found = await differences(this.#sluice, this.#world, this.#gone, this.#digests).catch(
        (error: unknown) => [String(error)],
      );
      if (found.length === 0) log(`at rest after ${seconds().toFixed(0)} s`);
      if (found.length === 0 || performance.now() - beganAtMs > REST_TIMEOUT_MS) {
        return { afterSteps, seconds: seconds(), differences: found };
      }
      await sleep(POLL_MS, undefined, signal && { signal });
    }
  }
}
