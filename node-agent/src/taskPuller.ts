import type { Layout } from '@sluice/engine/pieces/layout.ts';
import type { Clock } from '@sluice/engine/ports/clock.ts';
import type { HttpSource } from '@sluice/engine/ports/httpSource.ts';
import { createPuller } from '@sluice/engine/session/originPuller.ts';
import type { PullDependencies, Puller } from '@sluice/engine/session/puller.ts';
import type { SourcedGrant } from '@sluice/protocol/client/leaseLoop.ts';
import { sourceOf } from '@sluice/protocol/client/sourceOfTask.ts';
import type { Task } from '@sluice/protocol/messages.ts';

export interface TaskPullerOptions {
  readonly task: Task;
  readonly layout: Layout;
  /** Connections to an origin whose name may, or may not, mean a private address. */
  readonly httpSource: (allowsPrivate: boolean) => HttpSource;
  readonly clock: Clock;
  readonly target: PullDependencies['target'];
  /** Nothing is here yet. */
  readonly isFirst?: boolean;
}

/** Takes from the task's origin, or a mirror, what a lease grants. Throws when the task names it no more. */
export function pullerOfTask(
  grant: SourcedGrant,
  requestedAtMs: number,
  { task, layout, httpSource, clock, target, isFirst = false }: TaskPullerOptions,
): Puller {
  const source = sourceOf(task, layout.files, grant.mirror);
  if (source === undefined) throw new Error('the task names no such source');
  const http = httpSource(source.allowsPrivateAddresses);
  const options = { ...source.options, isFirst };
  return createPuller(grant, requestedAtMs, options, { http, clock, layout, target });
}
