/** Conditions that keep the time of their last change (kstatus, KEP-1623). */
import type { Condition } from '../api/v1alpha1/conditions.ts';

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
