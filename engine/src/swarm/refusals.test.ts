import { beforeEach, expect, it } from 'vitest';
import { Bitfield } from '../pieces/bitfield.ts';
import { Refusals } from './refusals.ts';

let has: Bitfield;
let refusals: Refusals;

beforeEach(() => {
  has = new Bitfield(4);
  for (const piece of [0, 1, 2]) has.add(piece);
  refusals = new Refusals();
});

const askable = () => [...refusals.askable(has).pieces()];

it('leaves out what was refused, for ten seconds', () => {
  refusals.refused(1, has, 0);
  refusals.refused(2, has, 5_000);
  expect(askable()).toEqual([0]);
  expect([...has.pieces()]).toEqual([0, 1, 2]);
  expect(refusals.expire(9_999)).toBe(false);
  expect(refusals.expire(10_000)).toBe(true);
  expect(askable()).toEqual([0, 1]);
  expect(refusals.expire(15_000)).toBe(true);
  expect(refusals.expire(15_000)).toBe(false);
  expect(refusals.askable(has)).toBe(has);
});

it('takes in again what the peer says that it has, and what is new', () => {
  refusals.refused(1, has, 0);
  refusals.refused(2, has, 0);
  refusals.told(1);
  refusals.told(3);
  expect(askable()).toEqual([0, 1, 3]);
});

it('leaves out what the peer has no more, also when that was refused before', () => {
  refusals.refused(1, has, 0);
  refusals.refused(2, has, 0);
  for (const piece of [0, 1]) {
    has.delete(piece);
    refusals.lacks(piece);
  }
  expect(askable()).toEqual([]);
  refusals.expire(10_000);
  expect(askable()).toEqual([2]);
});

it('pauses longer and longer, ten seconds at most, until the peer gives something', () => {
  const pauses: number[] = [];
  let nowMs = 0;
  for (let time = 0; time < 9; time += 1) {
    refusals.refused(0, has, nowMs);
    const fromMs = nowMs;
    while (refusals.isPaused(nowMs)) nowMs += 50;
    pauses.push(nowMs - fromMs);
  }
  expect(pauses).toEqual([100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000]);
  refusals.refused(0, has, nowMs);
  refusals.gave();
  expect(refusals.isPaused(nowMs)).toBe(false);
  refusals.refused(0, has, nowMs);
  expect(refusals.isPaused(nowMs + 100)).toBe(false);
});

it('counts what is refused at once as one', () => {
  for (const piece of [0, 1, 2]) refusals.refused(piece, has, 10);
  expect(refusals.isPaused(109)).toBe(true);
  expect(refusals.isPaused(110)).toBe(false);
});
