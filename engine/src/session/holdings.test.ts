import { createHash, randomBytes } from 'node:crypto';
import { beforeEach, describe, expect, it } from 'vitest';
import { certify } from '../feed/certificate.ts';
import { FeedLog } from '../feed/feedLog.ts';
import { FeedSigner } from '../feed/feedSigner.ts';
import { generateFeedKeyPair } from '../feed/keys.ts';
import { layoutOf } from '../pieces/layout.ts';
import type { PieceStore } from '../ports/pieceStore.ts';
import { VirtualClock } from '../sim/virtualClock.ts';
import { PiecePicker } from '../swarm/piecePicker.ts';
import { FeedPublisher } from './feedPublisher.ts';
import { Holdings } from './holdings.ts';
import type { Intake } from './intake.ts';

const PIECE = 262_144;
const swarmId = randomBytes(20);
const distribution = generateFeedKeyPair();
const hashOf = (what: string) => createHash('sha256').update(what).digest();

/** Who pulls the one piece that there is. */
function pullerOf() {
  const keyPair = generateFeedKeyPair();
  const extents = [{ first: 0, count: 1 }];
  const certificate = certify(distribution, swarmId, keyPair.publicKey, extents);
  return { key: keyPair.publicKey, signer: new FeedSigner({ swarmId, keyPair, certificate }) };
}

let feed: FeedLog;
let picker: PiecePicker;
let publisher: FeedPublisher;
let holdings: Holdings;
let dropped: number[];

beforeEach(() => {
  feed = new FeedLog({ swarmId, feedKey: distribution.publicKey, pieceCount: 1 });
  dropped = [];
  picker = new PiecePicker({
    pieceCount: 1,
    blockBytes: PIECE,
    pieceSizeBytes: () => PIECE,
    random: () => 0,
  });
  publisher = new FeedPublisher({
    clock: new VirtualClock(),
    unnamedPieces: () => 1 - feed.knownPieces,
    publish: (batches) => {
      for (const batch of batches) feed.accept(batch);
    },
  });
  holdings = new Holdings({
    layout: layoutOf([{ path: 'file', sizeBytes: PIECE }], PIECE),
    store: { hasEarlier: () => false } as unknown as PieceStore,
    feed,
    picker,
    intake: { giveUp: () => picker.leaveActive(0, 'missing') } as unknown as Intake,
    publisher,
    onOffered: () => {},
    onDropped: (piece) => dropped.push(piece),
  });
});

/** Somebody's batch comes. */
function hear({ signer }: { signer: FeedSigner }, hash: Buffer): void {
  for (const batch of signer.sign([{ piece: 0, hash }])) feed.accept(batch);
  holdings.reconcile(0);
}

function store(hash: Buffer, isFirstHand: boolean): void {
  picker.enter(0, 'held');
  holdings.stored(0, hash, isFirstHand);
}

describe('holdings: what came first hand', () => {
  it('has its say before somebody else has, as long as it is about to be signed', () => {
    publisher.setSigner(pullerOf().signer);
    store(hashOf('ours'), true);
    hear(pullerOf(), hashOf('theirs'));
    expect(dropped).toEqual([]);
    expect(feed.quarantined(0)).toBe(true);
  });

  it('is in doubt where nobody signs it any more, and goes when it is named otherwise', () => {
    store(hashOf('ours'), true);
    expect(holdings.isInDoubt()).toBe(true);
    hear(pullerOf(), hashOf('theirs'));
    expect(dropped).toEqual([0]);
    const { signer } = pullerOf();
    publisher.setSigner(signer);
    expect(publisher.has(0)).toBe(false);
    expect(feed.quarantined(0)).toBe(false);
  });
});

describe('holdings: what a peer gave', () => {
  it('is not held when its puller was revoked while it was on its way to the disk', () => {
    const liar = pullerOf();
    hear(liar, hashOf('one'));
    feed.revoke([liar.key]);
    holdings.reconcile(0);
    store(hashOf('one'), false);
    expect(holdings.has(0)).toBe(false);
    expect(picker.state(0)).toBe('missing');
    // Of somebody who is believed it is the same after all.
    hear(pullerOf(), hashOf('one'));
    expect(holdings.has(0)).toBe(true);
  });

  it('is kept while pullers disagree about it, and not when none of them counts', () => {
    const [one, other] = [pullerOf(), pullerOf()];
    hear(one, hashOf('one'));
    hear(other, hashOf('other'));
    store(hashOf('one'), false);
    expect(holdings.has(0)).toBe(true);
    // Neither given away nor completed with.
    expect(holdings.serves(0)).toBe(false);
    expect(holdings.isInDoubt()).toBe(true);
    feed.revoke([one.key, other.key]);
    holdings.reconcile(0);
    expect(holdings.has(0)).toBe(false);
  });
});

describe('holdings: whether others may have what a piece was', () => {
  it.each([
    ['not when it was named once', false, () => hear(pullerOf(), hashOf('one'))],
    [
      'when its only puller was revoked, and it is named anew',
      true,
      () => {
        const liar = pullerOf();
        hear(liar, hashOf('one'));
        feed.revoke([liar.key]);
        holdings.reconcile(0);
        hear(pullerOf(), hashOf('other'));
      },
    ],
    [
      'when two pullers contradicted each other, and it is settled',
      true,
      () => {
        hear(pullerOf(), hashOf('one'));
        hear(pullerOf(), hashOf('other'));
        hear(pullerOf(), hashOf('other'));
      },
    ],
  ])('is so %s: %s', (_, expected, happens) => {
    happens();
    expect(feed.names(0)).toBe(true);
    expect(holdings.isContested(0)).toBe(expected);
  });
});
