import type { LeaseAnswer, LeaseGrant, LeaseRequest } from '@sluice/protocol/leaseMessages.ts';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { OriginPolicy } from '../controllers/dataSide.ts';
import { FakeClock, settle } from '../testing/fakeClock.ts';
import {
  aLeasedDistribution,
  aLeaseService,
  anOriginPolicy,
  PIECE_BYTES,
} from '../testing/leasing.ts';
import { MemoryJournal } from '../testing/memoryJournal.ts';
import { MIB, PULLER, relay } from '../testing/testLeases.ts';
import type { LeaseService } from './leaseService.ts';

const HOSTS = ['h', 'g'];
const PATHS = ['/', '/a', '/a/b', '/c'];
const URLS = HOSTS.flatMap((host) =>
  ['/x', '/a/x', '/a/b/x', '/c/x'].map((path) => `http://${host}${path}`),
);
const DEFAULT_CONNECTIONS = 2;
const TRAFFIC_BYTES = 24 * MIB;
const CLOSE_AFTER_MS = 20_000;
/** Of a lease that was renewed once more to come down, and of what its holder left open. */
const SETTLED_MS = 2 * 10_100 + CLOSE_AFTER_MS;

interface Rule {
  readonly host: string;
  readonly path: string;
}

interface Origin {
  readonly rules: readonly Rule[];
  /** A MiB per second for each. */
  readonly connections: number;
}

type Step =
  | { readonly kind: 'edit'; readonly origins: readonly Origin[] }
  | { readonly kind: 'act'; readonly holder: number; readonly done: number }
  | { readonly kind: 'lose'; readonly holder: number }
  | { readonly kind: 'lead' }
  | { readonly kind: 'pass'; readonly ms: number };

const rule = fc.record({ host: fc.constantFrom(...HOSTS), path: fc.constantFrom(...PATHS) });
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant('edit' as const),
      origins: fc.array(
        fc.record({
          rules: fc.array(rule, { minLength: 1, maxLength: 3 }),
          connections: fc.integer({ min: 1, max: 3 }),
        }),
        { maxLength: 3 },
      ),
    }),
  },
  {
    weight: 16,
    arbitrary: fc.record({
      kind: fc.constant('act' as const),
      holder: fc.nat(15),
      done: fc.nat(4),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('lose' as const), holder: fc.nat(15) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('lead' as const) }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('pass' as const), ms: fc.nat(6_000) }) },
);

/** What one holder may take, and has taken, of its URL: what the origin would see at most. */
interface Holder {
  readonly url: string;
  name: string;
  grant: LeaseGrant | undefined;
  /** Then it closes everything. */
  untilMs: number;
  usedBytes: number;
}

/** Sees what is granted and taken by URL; shares no code with the journals. */
class World {
  readonly clock = new FakeClock();
  readonly journal = new MemoryJournal();
  service: LeaseService = this.#newService();
  readonly holders: Holder[] = [...URLS, ...URLS].map((url, at) => {
    return { url, name: `h${at}`, grant: undefined, untilMs: 0, usedBytes: 0 };
  });
  /** What the origin keeps open for those that are gone, and may still send them. */
  readonly lost: { url: string; connections: number; windowBytes: number; untilMs: number }[] = [];
  /** Bytes that were settled, or must be taken for taken, by URL. */
  readonly taken = new Map<string, number>();
  rules: readonly { readonly rule: Rule; readonly origin: number }[] = [];
  origins: readonly Origin[] = [];
  editedMs = 0;
  granted = 0;
  #policies: readonly OriginPolicy[] = [];
  #sequence = 0;
  #term = 0;

  async lead(): Promise<void> {
    this.service = this.#newService();
    this.service.setOrigins(this.#policies);
    for (const [at, url] of URLS.entries()) {
      this.service.setDistribution(aLeasedDistribution({ uid: `d${at}`, url, pieceCount: 400 }));
    }
    this.#term += 1;
    this.service.lead(this.#term);
    await settle();
    await this.clock.advance(2_000);
  }

  /** Of two Origins with the same rule the first one has it, as the older one would. */
  edit(origins: readonly Origin[]): void {
    const seen = new Set<string>();
    const rules: { rule: Rule; origin: number }[] = [];
    this.origins = origins;
    this.#policies = origins.flatMap(({ rules: list, connections }, origin) => {
      const hosts = list.flatMap((each) => {
        const text = each.host + (each.path === '/' ? '' : each.path);
        if (seen.has(text)) return [];
        seen.add(text);
        rules.push({ rule: each, origin });
        return [text];
      });
      const maxTraffic = { bytes: TRAFFIC_BYTES, periodSeconds: 7e6 };
      const limits = { ...limitsOf(connections), maxTraffic };
      return hosts.length === 0
        ? []
        : [
            anOriginPolicy(limits, {
              name: `o${origin}`,
              hosts,
              closeAfterSeconds: CLOSE_AFTER_MS / 1000,
            }),
          ];
    });
    this.rules = rules;
    this.editedMs = this.clock.now();
    this.service.setOrigins(this.#policies);
  }

  async act(at: number, done: number): Promise<void> {
    const holder = this.holders[at] as Holder;
    const { grant } = holder;
    const want = { wantRateBytesPerSecond: 1e8, wantConnections: 2 };
    if (grant === undefined) {
      const uid = `d${URLS.indexOf(holder.url)}`;
      const request = { op: 'acquire', uid, epoch: 1, pullerKey: PULLER, ...want };
      const answer = await this.#ask(holder, request);
      if (answer?.outcome !== 'granted') return;
      holder.grant = answer.grant;
      holder.untilMs = this.clock.now() + answer.grant.ttlMs;
      holder.usedBytes = 0;
      this.granted += 1;
      this.#checkGrant(holder.url);
      return;
    }
    const { leaseId, version } = grant;
    holder.usedBytes = Math.min(grant.maxBytes, holder.usedBytes + done * PIECE_BYTES);
    const common = { leaseId, version, usedBytes: holder.usedBytes, unfinished: grant.extents };
    if (done === 0) {
      await this.#ask(holder, { op: 'settle', ...common });
      this.#take(holder.url, holder.usedBytes);
      holder.grant = undefined;
      return;
    }
    const answer = await this.#ask(holder, { op: 'renew', ...common, ...want });
    if (answer?.outcome === 'granted') {
      holder.grant = answer.grant;
      holder.untilMs = this.clock.now() + answer.grant.ttlMs;
    }
    if (answer?.outcome !== 'gone') return;
    this.#take(holder.url, grant.maxBytes);
    holder.grant = undefined;
  }

  /** Without a word: what it had open stays so for a while, and all that it had may be taken. */
  lose(at: number): void {
    const holder = this.holders[at] as Holder;
    holder.name += '+';
    if (holder.grant === undefined) return;
    const { connections, slackBytes: windowBytes } = holder.grant;
    const now = this.clock.now();
    // One whose lease is over has closed everything before.
    if (holder.untilMs > now) {
      const untilMs = now + CLOSE_AFTER_MS;
      this.lost.push({ url: holder.url, connections, windowBytes, untilMs });
    }
    this.#take(holder.url, holder.grant.maxBytes);
    holder.grant = undefined;
  }

  /** When everything from before the last edit is over, every Origin is within its limits. */
  check(): void {
    if (this.clock.now() - this.editedMs < SETTLED_MS) return;
    for (const { url } of this.holders) this.#checkOpen(url);
  }

  /** Whatever was edited when, nothing is granted that does not fit beside what is open. */
  #checkGrant(url: string): void {
    this.#checkOpen(url);
    if (this.#ownerOf(url).startsWith('o')) {
      expect(this.#takenUnder(url)).toBeLessThanOrEqual(TRAFFIC_BYTES);
    }
  }

  #checkOpen(url: string): void {
    const { connections, windowBytes } = this.#openUnder(url);
    const owner = this.#ownerOf(url);
    const origin = owner.startsWith('o') ? this.origins[Number(owner.slice(1))] : undefined;
    const limits = limitsOf(origin?.connections ?? DEFAULT_CONNECTIONS);
    expect(connections).toBeLessThanOrEqual(limits.maxConnections);
    expect(windowBytes).toBeLessThanOrEqual(limits.maxBandwidthBytesPerSecond);
  }

  #openUnder(url: string): { connections: number; windowBytes: number } {
    const owner = this.#ownerOf(url);
    const now = this.clock.now();
    const held = this.holders.flatMap(({ url: of, grant, untilMs }) => {
      if (grant === undefined) return [];
      const windowBytes = grant.rateBytesPerSecond + grant.slackBytes;
      return [{ url: of, connections: grant.connections, windowBytes, untilMs }];
    });
    const open = [...held, ...this.lost].filter(
      ({ url: of, untilMs }) => untilMs > now && this.#ownerOf(of) === owner,
    );
    return {
      connections: open.reduce((sum, { connections }) => sum + connections, 0),
      windowBytes: open.reduce((sum, { windowBytes }) => sum + windowBytes, 0),
    };
  }

  #takenUnder(url: string): number {
    const owner = this.#ownerOf(url);
    let sum = 0;
    for (const [of, bytes] of this.taken) if (this.#ownerOf(of) === owner) sum += bytes;
    for (const { url: of, grant } of this.holders) {
      if (this.#ownerOf(of) === owner) sum += grant?.maxBytes ?? 0;
    }
    return sum;
  }

  /** The longest rule that fits, by itself. */
  #ownerOf(url: string): string {
    const { hostname, pathname } = new URL(url);
    const fitting = this.rules
      .filter(({ rule: { host, path } }) => {
        const inside = path === '/' || pathname.startsWith(`${path}/`);
        return host === hostname && inside;
      })
      .sort((a, b) => b.rule.path.length - a.rule.path.length);
    return fitting[0] === undefined ? `host ${hostname}` : `o${fitting[0].origin}`;
  }

  #take(url: string, bytes: number): void {
    this.taken.set(url, (this.taken.get(url) ?? 0) + bytes);
  }

  async #ask({ name }: Holder, request: object): Promise<LeaseAnswer | undefined> {
    this.#sequence += 1;
    const base = { incarnation: 'incarnation', sequence: this.#sequence };
    const answer = this.service.answer(relay(name), { ...base, ...request } as LeaseRequest);
    return answer.catch(() => undefined);
  }

  #newService(): LeaseService {
    const { clock, journal: store } = this;
    return aLeaseService({ store, clock }, { defaultLimits: limitsOf(DEFAULT_CONNECTIONS) });
  }
}

function limitsOf(connections: number) {
  return { maxConnections: connections, maxBandwidthBytesPerSecond: connections * MIB };
}

describe('Origins that are edited while leases live', () => {
  it('open no second allowance, whatever is deleted, made anew, split, moved or lowered', async () => {
    let granted = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 20, maxLength: 80 }), async (steps) => {
        const world = new World();
        await world.lead();
        for (const each of steps) {
          if (each.kind === 'edit') world.edit(each.origins);
          if (each.kind === 'act') await world.act(each.holder, each.done);
          if (each.kind === 'lose') world.lose(each.holder);
          if (each.kind === 'lead') await world.lead();
          if (each.kind === 'pass') await world.clock.advance(each.ms);
          await settle();
          world.check();
        }
        granted += world.granted;
      }),
      { numRuns: 200 },
    );
    // Not for want of anything granted.
    expect(granted).toBeGreaterThan(300);
  }, 60_000);
});
