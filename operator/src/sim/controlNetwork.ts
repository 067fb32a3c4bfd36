/** The way between holders and control servers: what is lost, comes twice, or too late. */
import type { SeededRandom } from '@sluice/engine/sim/seededRandom.ts';
import type { VirtualClock } from '@sluice/engine/sim/virtualClock.ts';
import { ControlError } from '@sluice/protocol/client/controlError.ts';
import type { LeaseAnswer, LeaseRequest } from '@sluice/protocol/leaseMessages.ts';
import type { ControlServer } from './controlServer.ts';
import type { Faults } from './faults.ts';
import { pick } from './pick.ts';
import type { SimulatedHolder } from './simulatedHolder.ts';

export interface ControlNetworkDependencies {
  readonly world: VirtualClock;
  readonly random: SeededRandom;
  readonly faults: Faults;
  readonly servers: () => readonly ControlServer[];
  readonly leader: () => ControlServer | undefined;
}

const REQUEST_TIMEOUT_MS = 5_000;
const LATEST_MS = 30_000;

export class ControlNetwork {
  readonly #dependencies: ControlNetworkDependencies;
  readonly #world: VirtualClock;
  readonly #faults: Faults;
  /** Names of machines. */
  readonly #cut = new Set<string>();
  /** Connections that holders have told as unproven, by holder and lease. */
  readonly #unproven = new Map<string, Map<string, number>>();

  constructor(dependencies: ControlNetworkDependencies) {
    this.#dependencies = dependencies;
    this.#world = dependencies.world;
    this.#faults = dependencies.faults;
  }

  cutOff(machine: string, forMs: number): void {
    this.#cut.add(machine);
    this.#world.setTimer(forMs, () => this.#cut.delete(machine));
  }

  isCut(machine: string): boolean {
    return this.#cut.has(machine);
  }

  /** How many connections this process has told as unproven, and was answered. */
  unprovenTold(holderId: string): number {
    const told = [...(this.#unproven.get(holderId)?.values() ?? [])];
    return told.reduce((sum, each) => sum + each, 0);
  }

  /** One attempt of a holder to reach whoever leads. */
  post(holder: SimulatedHolder, request: LeaseRequest, signal: AbortSignal): Promise<LeaseAnswer> {
    const { promise, resolve, reject } = Promise.withResolvers<LeaseAnswer>();
    const { machine } = holder;
    const settle = (act: () => void) => () => {
      act();
      this.#world.settleSoon();
    };
    const timer = machine.setTimer(
      REQUEST_TIMEOUT_MS,
      settle(() => reject(new ControlError('TimedOut', 'no answer'))),
    );
    const abort = settle(() => reject(new ControlError('Aborted', 'aborted')));
    signal.addEventListener('abort', abort, { once: true });
    const back = (act: () => void) => {
      if (this.#cut.has(machine.name) || this.#faults.happens('answerLost')) return;
      const delayMs = this.#faults.happens('answerLate') ? this.#lateMs() : this.#delayMs();
      this.#world.setTimer(delayMs, () => machine.enter(settle(act)));
    };
    const deliver = () => {
      if (this.#cut.has(machine.name)) return;
      const server = this.#route();
      if (server === undefined || !server.machine.isAlive) {
        back(() => reject(new ControlError('Unreachable', 'nobody is there')));
        return;
      }
      server.machine.enter(() => {
        if (!server.leads) {
          back(() => reject(new ControlError('Unavailable', 'it does not lead')));
          return;
        }
        server.service.answer(holder.holder, structuredClone(request)).then(
          (answer) => {
            this.#noteUnproven(holder, request);
            back(() => resolve(structuredClone(answer)));
          },
          () => back(() => reject(new ControlError('Unavailable', 'it does not lead any more'))),
        );
        this.#world.settleSoon();
      });
    };
    if (!this.#faults.happens('requestLost')) {
      const delayMs = this.#faults.happens('requestLate') ? this.#lateMs() : this.#delayMs();
      this.#world.setTimer(delayMs, deliver);
    }
    if (this.#faults.happens('requestDoubled')) this.#world.setTimer(this.#lateMs(), deliver);
    return promise.finally(() => {
      timer.cancel();
      signal.removeEventListener('abort', abort);
    });
  }

  /** A control server tells a holder to ask. */
  call(called: SimulatedHolder, uid: string, epoch: number): void {
    if (this.#cut.has(called.machine.name)) return;
    const deliver = (delayMs: number) =>
      this.#world.setTimer(delayMs, () => called.machine.enter(() => called.asked(uid, epoch)));
    if (!this.#faults.happens('callLost')) deliver(this.#delayMs());
    if (this.#faults.happens('callDoubled')) deliver(this.#lateMs());
  }

  #noteUnproven({ holder }: SimulatedHolder, request: LeaseRequest): void {
    if (request.op !== 'settle' || request.unproven === undefined) return;
    const told = this.#unproven.get(holder.id) ?? new Map<string, number>();
    this.#unproven.set(holder.id, told.set(request.leaseId, request.unproven.connections));
  }

  #route(): ControlServer | undefined {
    const { leader, servers, random } = this.#dependencies;
    if (!this.#faults.happens('requestToAnother')) return leader();
    return pick(
      servers().filter(({ leads }) => leads),
      random,
    );
  }

  #delayMs(): number {
    return 0.5 + this.#dependencies.random.next() * 4;
  }

  #lateMs(): number {
    return this.#dependencies.random.next() ** 3 * LATEST_MS;
  }
}
