import path from 'node:path';
import { Type } from '@sinclair/typebox';
import { describe, expect, it } from 'vitest';
import { customResourceDefinitions } from './customResources.ts';
import { staleCrdFiles } from './generateCrds.ts';
import { structuralSchema } from './structuralSchema.ts';

describe('the CRDs', () => {
  it('in crds/ are what the schemas say', async () => {
    const folder = path.resolve(import.meta.dirname, '../../../crds');
    expect(await staleCrdFiles(folder)).toEqual([]);
  });

  it('are found stale when a file is missing', async () => {
    expect(await staleCrdFiles('/nonexistent')).toHaveLength(customResourceDefinitions.length);
  });
});

describe('a structural schema', () => {
  it('asks nobody to write a field that has a default', () => {
    const schema = Type.Object({
      a: Type.Integer(),
      b: Type.Integer({ default: 1 }),
      c: Type.Optional(Type.Integer()),
    });
    expect(structuralSchema(schema).required).toEqual(['a']);
  });

  it.each([
    ['a string without bound', Type.String(), /maxLength/],
    [
      'a list without bound',
      Type.Array(Type.Integer(), { 'x-kubernetes-list-type': 'set' }),
      /maxItems/,
    ],
    ['a list without type', Type.Array(Type.Integer(), { maxItems: 1 }), /list-type/],
    [
      'a map without bound',
      Type.Record(Type.String(), Type.String({ maxLength: 1 })),
      /maxProperties/,
    ],
    ['a union of other than strings', Type.Union([Type.Integer(), Type.Null()]), /union/],
    [
      'a keyword that it does not have',
      Type.Object({}, { additionalProperties: false }),
      /additionalProperties/,
    ],
  ])('refuses %s', (_name, schema, message) => {
    expect(() => structuralSchema(schema)).toThrow(message);
  });
});
