/** Fields of `spec.target` that are for the pods that use the files. */
import { Type } from '@sinclair/typebox';
import { OBJECT_NAME, refuse, rules } from './fields.ts';

export const workloadFields = {
  persistentVolumeClaim: Type.Optional(
    Type.String({
      minLength: 1,
      maxLength: 253,
      description:
        'Name of a PersistentVolumeClaim that the operator keeps in the namespace of the Distribution. Pods that mount it are scheduled to nodes that get the file, wait there until it is complete, and need no right to mount host folders.',
      ...rules(
        refuse(
          `self.matches('^${OBJECT_NAME}$')`,
          'spec.target.persistentVolumeClaim',
          'is not the name of a claim; write lower-case letters, digits, dashes and dots',
        ),
      ),
    }),
  ),
  nodeLabel: Type.Boolean({
    default: false,
    description:
      'Label each node that shows the file: `<namespace>.dist.sluice.dev/<name>: <epoch>`. Needs workloads.nodeLabels in the chart.',
  }),
};
