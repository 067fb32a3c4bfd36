/**
 * A cluster with Sluice to which random things happen: Distributions are applied, edited and
 * deleted, nodes cordoned, drained, switched off and installed anew, processes killed and frozen,
 * the origin spoilt, often in mid-transfer. After some of them it is left alone, and then cluster,
 * database and disks must say what was asked for.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { SeededRandom } from '@sluice/engine/sim/seededRandom.ts';
import type { Sluice } from '../install/sluice.ts';
import { Undoings } from '../install/undoings.ts';
import { act, ignoreNotFound, type Mend } from './act.ts';
import { AtOrigin } from './atOrigin.ts';
import { readNodes } from './clusterFacts.ts';
import { type Look, look, readDisks, remember } from './differences.ts';
import { nextStep } from './draw.ts';
import { judgeEvents } from './judgeCluster.ts';
import { Memory, placeKey } from './memory.ts';
import { describeStep, type Step } from './steps.ts';
import { after, emptyWorld, rested, type World } from './world.ts';

export interface RandomRunOptions {
  readonly seed: number;
  readonly steps: number;
  /** So many steps, and then a rest. */
  readonly stepsBetweenRests: number;
  /** Names of nodes that may be switched off, deleted and installed anew; empty: none. */
  readonly losable?: readonly string[];
  readonly log: (line: string) => void;
  readonly signal?: AbortSignal;
}

export interface Rest {
  readonly afterSteps: number;
  readonly seconds: number;
  /** Of one Distribution, since the rest before. */
  readonly mostEvents: number;
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
  readonly #origin: AtOrigin;
  readonly #memory = new Memory();
  /** What was spoilt for a while, and is being mended. */
  readonly #mending = new Set<Promise<void>>();
  readonly #sinceMs = Date.now();
  #world: World;

  constructor(sluice: Sluice, options: RandomRunOptions) {
    this.#sluice = sluice;
    this.#options = options;
    this.#random = new SeededRandom(options.seed);
    this.#origin = new AtOrigin(sluice.cluster.origin);
    const nodes = sluice.cluster.nodes.map(({ name, zone }) => ({ name, zone }));
    this.#world = emptyWorld(nodes, options.losable);
  }

  /**
   * All rests, the last one after everything was deleted; ends at the first with differences, and
   * leaves everything as it is for who wants to see it.
   */
  async play(): Promise<Rest[]> {
    const { steps, stepsBetweenRests } = this.#options;
    const rests: Rest[] = [];
    this.#memory.found(await readDisks(this.#sluice, this.#world, await readNodes(this.#sluice)));
    try {
      for (let at = 1; at <= steps; at += 1) {
        await this.#step(nextStep(this.#world, this.#random), at);
        if (at % stepsBetweenRests === 0 || at === steps) rests.push(await this.#rest(at));
        if (rests.at(-1)?.differences.length) return rests;
      }
      for (const step of this.#cleanUp()) await this.#step(step, steps);
      return [...rests, await this.#rest(steps)];
    } finally {
      await Promise.all(this.#mending);
    }
  }

  /** What a run that ended early has left, for a cluster that others use after it. */
  async cleanUp(): Promise<void> {
    const undoings = new Undoings();
    const { cluster } = this.#sluice;
    undoings.add(async () => {
      // A step that failed half way may have left one switched off.
      for (const node of cluster.nodes) if (node.process === undefined) await node.start();
      const ready = ['wait', 'node', '--all', '--for=condition=Ready', '--timeout=60s'];
      await cluster.kubectl(ready, { timeoutMs: 70_000 });
      await this.#sluice.untilAgentsReady();
    });
    for (const step of this.#cleanUp().toReversed()) {
      undoings.add(async () => {
        this.#world = after(this.#world, step);
        const acted = act(this.#sluice, step, this.#world, this.#origin);
        // What was to be applied may never have been.
        await (step.kind === 'delete' ? acted.catch(ignoreNotFound) : acted);
      });
    }
    undoings.add(() => Promise.all(this.#mending));
    await undoings.all();
  }

  /** After these nothing is left of the run. */
  #cleanUp(): Step[] {
    const { away, cordoned, pool, wanted } = this.#world;
    return [
      ...(away === undefined
        ? []
        : [{ kind: away.isDeleted ? 'joinNode' : 'powerOn', node: away.node } as const]),
      ...(cordoned === undefined ? [] : [{ kind: 'uncordon', node: cordoned } as const]),
      ...[...wanted.keys()].map((name) => ({ kind: 'delete', name }) as const),
      ...[...pool].map((node) => ({ kind: 'relabel', node, inPool: false }) as const),
    ];
  }

  async #step(step: Step, at: number): Promise<void> {
    const { log, signal } = this.#options;
    signal?.throwIfAborted();
    log(`${at}: ${describeStep(step)}`);
    await this.#note(step);
    this.#world = after(this.#world, step);
    const mend = await act(this.#sluice, step, this.#world, this.#origin);
    if ('seconds' in step) this.#mendLater(mend, step.seconds * 1000);
    const pauseMs = this.#random.below(MAX_PAUSE_MS);
    await sleep(pauseMs, undefined, signal && { signal });
  }

  /** What cannot be seen afterwards. */
  async #note(step: Step): Promise<void> {
    const memory = this.#memory;
    if (step.kind === 'apply') memory.takeOver(step.wanted.path);
    if (step.kind === 'damage') {
      const nodes = await readNodes(this.#sluice);
      const node = nodes.find(({ metadata }) => metadata.name === step.node);
      memory.damaged.add(placeKey(node?.metadata.uid ?? '', step.name));
    }
    if (step.kind !== 'delete' || !this.#world.everRetained.has(step.name)) return;
    const { path, settings } = this.#world.wanted.get(step.name)!;
    const { metadata } = await this.#sluice.distribution(step.name);
    const nodes = await readNodes(this.#sluice);
    const disks = await readDisks(this.#sluice, this.#world, nodes);
    memory.retain(path, metadata.uid, settings.deletionPolicy === 'Retain', disks);
  }

  #mendLater(mend: Mend, afterMs: number): void {
    if (mend === undefined) return;
    const { signal } = this.#options;
    const due = sleep(afterMs, undefined, signal && { signal }).catch(() => {});
    const mending = due.then(mend).finally(() => this.#mending.delete(mending));
    this.#mending.add(mending);
    // Who waits for it hears of it.
    mending.catch(() => {});
  }

  async #rest(afterSteps: number): Promise<Rest> {
    const { log, signal } = this.#options;
    await Promise.all(this.#mending);
    const beganAtMs = performance.now();
    for (;;) {
      const { differences, seen } = await this.#look();
      const seconds = (performance.now() - beganAtMs) / 1000;
      if (seen !== undefined) {
        const { events } = seen.cluster;
        const { most: mostEvents, wrong } = judgeEvents(events, this.#memory.events);
        this.#memory.events = new Set(events.map(({ metadata }) => metadata.name));
        remember(this.#world, this.#memory, seen);
        this.#world = rested(this.#world);
        log(`at rest after ${seconds.toFixed(0)} s, ${mostEvents} events at most`);
        return { afterSteps, seconds, mostEvents, differences: wrong };
      }
      if (performance.now() - beganAtMs > REST_TIMEOUT_MS) {
        return { afterSteps, seconds, mostEvents: 0, differences };
      }
      await sleep(POLL_MS, undefined, signal && { signal });
    }
  }

  /** The API server or the database may not answer while something of it was killed just now. */
  async #look(): Promise<Look> {
    try {
      return await look(this.#sluice, this.#world, this.#memory, this.#origin, this.#sinceMs);
    } catch (error) {
      return { differences: [String(error)], seen: undefined };
    }
  }
}
