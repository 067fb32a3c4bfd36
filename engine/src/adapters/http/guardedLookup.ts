import { lookup as dnsLookup, type LookupAddress } from 'node:dns';
import type { LookupFunction } from 'node:net';
import { type AddressVerdict, judgeAddress } from './addresses.ts';

/** A name means an address that must not be asked. */
export class AddressError extends Error {
  readonly code = 'AddressForbidden';
  readonly host: string;
  readonly address: string;
  readonly verdict: Exclude<AddressVerdict, 'allowed'>;

  constructor(host: string, address: string, verdict: AddressError['verdict']) {
    const kind = verdict === 'private' ? 'private' : 'loopback, link-local or metadata';
    super(`${host === address ? host : `${host} (${address})`} is a ${kind} address`);
    this.name = 'AddressError';
    this.host = host;
    this.address = address;
    this.verdict = verdict;
  }
}

/** Throws an AddressError. */
export function checkAddress(host: string, address: string, allowsPrivate: boolean): void {
  const verdict = judgeAddress(address);
  if (verdict === 'allowed' || (verdict === 'private' && allowsPrivate)) return;
  throw new AddressError(host, address, verdict);
}

/** Judges what is connected to, not what a name meant a moment earlier. */
export function guardedLookup(allowsPrivate: boolean): LookupFunction {
  return (hostname, options, callback) => {
    dnsLookup(hostname, { ...options, all: true }, (error, addresses: LookupAddress[]) => {
      if (error !== null) return callback(error, '', 4);
      try {
        for (const { address } of addresses) checkAddress(hostname, address, allowsPrivate);
      } catch (refusal) {
        return callback(refusal as Error, '', 4);
      }
      if (options.all === true) return callback(null, addresses);
      const [first] = addresses;
      return callback(null, first?.address ?? '', first?.family ?? 4);
    });
  };
}
