import type { WorkloadsView } from '../controllers/workloads/workloads.ts';

/** Keeps nothing for pods. */
export const noWorkloads: WorkloadsView = {
  want: () => {},
  release: async () => {},
  forget: () => {},
  primed: () => {},
  conditions: () => [],
  onChange: () => {},
};
