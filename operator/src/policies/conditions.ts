/**
 * Conditions that keep the time of their last change (kstatus, KEP-1623), and tables of what may be
 * said with which of them. The pages in docs/ are made from the tables, the types of what the code
 * says too: what is not in the page does not compile.
 */
import type { Condition } from '../api/v1alpha1/conditions.ts';

type ConditionStatus = Condition['status'];

/** One status of a condition. */
export interface ConditionRule<Reason extends string = string> {
  /** For the specification page: exactly when it is so. */
  readonly when: string;
  readonly reasons: readonly Reason[];
}

export type ConditionRules<Type extends string = string, Reason extends string = string> = Readonly<
  Record<Type, Readonly<Partial<Record<ConditionStatus, ConditionRule<Reason>>>>>
>;

/** Every condition of a table, with each of its statuses and the reasons that go with it. */
export type ConditionOf<Rules, Type extends keyof Rules = keyof Rules> = {
  [T in Type]: {
    [S in keyof Rules[T]]: {
      readonly type: T;
      readonly status: S;
      readonly reason: Rules[T][S] extends ConditionRule<infer Reason> ? Reason : never;
      readonly message: string;
    };
  }[keyof Rules[T]];
}[Type];

export interface ConditionValue<Type extends string, Reason extends string> {
  readonly type: Type;
  readonly status: 'True' | 'False' | 'Unknown';
  readonly reason: Reason;
  readonly message: string;
}

const MAX_MESSAGE_CHARACTERS = 2048;

export function stampConditions<Type extends string, Reason extends string>(
  values: readonly ConditionValue<Type, Reason>[],
  previous: readonly Condition[] | undefined,
  generation: number,
  now: string,
): Condition<Type, Reason>[] {
  return values.map(({ type, status, reason, message }) => {
    const before = previous?.find((condition) => condition.type === type);
    return {
      type,
      status,
      observedGeneration: generation,
      lastTransitionTime: before?.status === status ? before.lastTransitionTime : now,
      reason,
      message: message.slice(0, MAX_MESSAGE_CHARACTERS),
    };
  });
}
