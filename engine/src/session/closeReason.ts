import type { WireError } from '../wire/codec.ts';

/** Why a connection ended; few and fixed, so that they can be counted. */
export type CloseReason =
  /** What it sent cannot be right, is larger than anything that is, or too much. */
  | WireError['code']
  /** The network, or the peer, ended it. */
  | 'Disconnected'
  /** We could not reach it. */
  | 'ConnectFailed'
  | 'HandshakeTimedOut'
  /** All inbound places are taken, or all those that one host may have. */
  | 'TooManyConnections'
  /** It waited for a swarm that is not served here, and others came who wait for one. */
  | 'UnknownSwarm'
  /** It owes blocks and sends nothing. */
  | 'Silent'
  /** It owes blocks and sends, but finishes none. */
  | 'Stalled'
  /** It asked for nothing and said nothing for minutes. */
  | 'Idle'
  /** It lets what we send pile up, or takes nothing of it. */
  | 'NotReading'
  /** Its blocks did not verify. */
  | 'WrongBytes'
  /** Nothing is needed of it any more. */
  | 'Complete'
  /** What it was told that we have is not so any more. */
  | 'Renewed'
  | 'NotListed'
  | 'Stopped'
  /** A mistake of ours. */
  | 'InternalError';
