/** What messages.ts and leaseMessages.ts are made of. */
import { Type } from '@sinclair/typebox';

/** Of what allows to take from an origin or to delete: see messages.ts. */
export const EXACT = { additionalProperties: false } as const;

export const Uid = Type.String({ minLength: 1, maxLength: 64, pattern: '^[A-Za-z0-9-]+$' });
export const Epoch = Type.Integer({ minimum: 1 });
export const Bytes = Type.Integer({ minimum: 0 });
export const Hex20 = Type.String({ pattern: '^[0-9a-f]{40}$' });
export const Base64 = (maxLength: number) =>
  Type.String({ maxLength, pattern: '^[A-Za-z0-9+/]*={0,2}$' });
export const Port = Type.Integer({ minimum: 1, maximum: 65535 });
export const Rate = Type.Integer({ minimum: 1 });
export const Sequence = Type.Integer({ minimum: 0 });
