/** What an Origin's status keeps of the journals of its hosts: see docs/adr/0019. */
import { type Static, Type } from '@sinclair/typebox';

export const OriginJournals = Type.Array(
  Type.Object({
    host: Type.String({
      maxLength: 32_768,
      description: 'With its port, and the prefix of paths that is counted by itself.',
    }),
    schema: Type.Optional(
      Type.Integer({ minimum: 1, description: 'Version in which this was written.' }),
    ),
    identity: Type.String({
      maxLength: 64,
      description: 'Of the journal, from its first document on.',
    }),
    written: Type.Integer({
      minimum: 0,
      description: 'Documents that are known to be in the database: one that has fewer is behind.',
    }),
    sequence: Type.Integer({
      minimum: 0,
      description: 'No document with a grant is after this one. Kept ahead, in steps.',
    }),
    trafficBytes: Type.Integer({
      minimum: 0,
      description: 'No more was charged in the period. Kept ahead, in steps.',
    }),
    periodStart: Type.Optional(
      Type.String({ format: 'date-time', maxLength: 64, description: 'Of that period.' }),
    ),
  }),
  {
    maxItems: 1024,
    'x-kubernetes-list-type': 'map',
    'x-kubernetes-list-map-keys': ['host'],
    description:
      'How far the journals of the hosts may have come, so that a database that was restored or emptied opens no second allowance.',
  },
);

export type OriginJournalStatus = Static<typeof OriginJournals>[number];
