import type { CoordinatorDependencies } from '../server/coordinator.ts';

/** What a coordinator stores, kept nowhere: it begins with nothing each time. */
export const noRows: Pick<CoordinatorDependencies, 'assignments' | 'revocations'> = {
  assignments: {
    load: async () => [],
    save: async () => {},
    delete: async () => {},
  },
  revocations: { saveRevoked: async () => {} },
};
