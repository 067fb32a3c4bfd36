import { expect, it } from 'vitest';
import { InboundPlaces, MAX_OPEN_AT_RELAY } from './inboundPlaces.ts';

const from = (remoteHost: string, isOpen = false) => ({ remoteHost, isOpen });

it('lets one host have 64 handshakes at a time, and others come in all the same', () => {
  const places = new InboundPlaces();
  const first = from('a');
  expect(places.enter(first)).toBe(true);
  for (let count = 1; count < 64; count += 1) expect(places.enter(from('a'))).toBe(true);
  expect(places.enter(from('a'))).toBe(false);
  expect(places.enter(from('b'))).toBe(true);
  places.leave(first);
  expect(places.enter(from('a'))).toBe(true);
});

it('leaves places for other hosts, where who comes in is nobody in particular', () => {
  const places = new InboundPlaces({ maxOpenOfHost: 100 });
  const first = from('a', true);
  places.enter(first);
  for (let count = 1; count < 100; count += 1) expect(places.enter(from('a', true))).toBe(true);
  expect(places.enter(from('a'))).toBe(false);
  expect(places.enter(from('b'))).toBe(true);
  places.leave(first);
  expect(places.enter(from('a'))).toBe(true);
});

it('keeps the places of members free of those who prove nothing', () => {
  const places = new InboundPlaces();
  for (let count = 0; count < 1000; count += 1) places.enter(from(`stranger ${count}`));
  expect(places.enter(from('one more'))).toBe(false);
  const members = new InboundPlaces();
  for (let count = 0; count < 1024; count += 1) members.enter(from('member', true));
  expect(members.enter(from('member', true))).toBe(false);
});

it('has places for all nodes that a relay may be given, and lets go of those that leave', () => {
  const places = new InboundPlaces({ maxOpen: MAX_OPEN_AT_RELAY });
  const members = Array.from({ length: 10_000 }, (_, at) => from(`node ${at}`, true));
  expect(members.every((member) => places.enter(member))).toBe(true);
  let more = 0;
  while (places.enter(from('one more', true))) more += 1;
  expect(10_000 + more).toBe(MAX_OPEN_AT_RELAY);
  for (const member of members) places.leave(member);
  expect(places.enter(from('one more', true))).toBe(true);
});

it('counts one that proves itself later among the members from then on', () => {
  const places = new InboundPlaces({ maxOpenOfHost: 100 });
  const slow = Array.from({ length: 64 }, () => ({ remoteHost: 'a', isOpen: false }));
  for (const each of slow) expect(places.enter(each)).toBe(true);
  expect(places.enter(from('a'))).toBe(false);
  for (const each of slow) each.isOpen = true;
  for (let count = 64; count < 100; count += 1) expect(places.enter(from('a', true))).toBe(true);
  expect(places.enter(from('a'))).toBe(false);
});
