/** What a random run can ask for or break, and how a log tells it. PURE. */

/** A file at the origin, and where it is in its Distribution. */
export interface WorldFile {
  /** Below the Distribution's folder; at the origin below the folder of its version. */
  readonly path: string;
  readonly sizeBytes: number;
  /** The same seed and length are the same bytes. */
  readonly seed: string;
}

/** `one`: named by the URL. The files of a set are named one by one, or by a list at the origin. */
export type SourceKind = 'one' | 'files' | 'list';

export interface Version {
  /** At the origin. */
  readonly folder: string;
  readonly files: readonly WorldFile[];
  readonly kind: SourceKind;
  /** In the folder; of a set that a list names. */
  readonly list: string;
  /** A list always has them. */
  readonly hasDigests: boolean;
}

/** All of it may be edited while it transfers. */
export interface Settings {
  /** Undefined: all zones. */
  readonly zone: string | undefined;
  /** Only nodes that bear the label of the pool. */
  readonly isForPool: boolean;
  readonly fileMode: '0644' | '0755';
  readonly keepVersions: number;
  readonly claim: string | undefined;
  readonly nodeLabel: boolean;
  readonly transport: 'Hybrid' | 'HTTP';
  readonly maxParallelNodes: string;
  readonly dedicated: boolean;
  readonly nodesPerRelay: number;
  readonly priority: number;
  readonly suspend: boolean;
  readonly deletionPolicy: 'Delete' | 'Retain';
  readonly graceSeconds: number;
}

export interface Wanted {
  readonly name: string;
  /** On the nodes; that of one that was deleted, perhaps. */
  readonly path: string;
  readonly version: Version;
  readonly settings: Settings;
}

export type Component = 'operator' | 'relay' | 'agent' | 'mongodb';

/** `cut`: every connection is reset. `fail`: 503. `stall`: nothing for most of each second. */
export type OriginTrouble = 'cut' | 'fail' | 'stall';

/** What somebody else does to what is Sluice's. */
export type Meddling = 'scaleRelays' | 'deleteRelays' | 'deleteAgents';

export type Step =
  | { readonly kind: 'apply'; readonly wanted: Wanted }
  | { readonly kind: 'replace'; readonly name: string; readonly version: Version }
  | { readonly kind: 'edit'; readonly name: string; readonly settings: Partial<Settings> }
  | { readonly kind: 'delete'; readonly name: string }
  | { readonly kind: 'cordon' | 'drain'; readonly node: string }
  | { readonly kind: 'uncordon'; readonly node: string }
  /** Into the pool or out of it. */
  | { readonly kind: 'relabel'; readonly node: string; readonly inPool: boolean }
  /** A power cut; the node's object stays. */
  | { readonly kind: 'powerOff'; readonly node: string }
  | { readonly kind: 'powerOn'; readonly node: string }
  /** A power cut, and its object is deleted. */
  | { readonly kind: 'removeNode'; readonly node: string }
  /** One of that name, with an empty disk. */
  | { readonly kind: 'joinNode'; readonly node: string }
  /** Both at once. */
  | { readonly kind: 'reinstall'; readonly node: string }
  /** By SIGKILL: its kubelet starts the container again. */
  | { readonly kind: 'kill'; readonly component: Component; readonly which: number }
  /** Its controller makes another one. */
  | { readonly kind: 'evict'; readonly component: Component; readonly which: number }
  /** It does nothing for a while, and then goes on as if nothing had been. */
  | {
      readonly kind: 'freeze';
      readonly component: Component;
      readonly which: number;
      readonly seconds: number;
    }
  | { readonly kind: 'rollOut' }
  | { readonly kind: 'originTrouble'; readonly how: OriginTrouble; readonly seconds: number }
  /** Of what a node shows: a file is gone, or cut off, or the link is gone. */
  | {
      readonly kind: 'damage';
      readonly name: string;
      readonly node: string;
      readonly how: 'removeFile' | 'cutFile' | 'removeLink';
      readonly which: number;
    }
  | { readonly kind: 'meddle'; readonly how: Meddling }
  /** The same with what belongs to one Distribution. */
  | {
      readonly kind: 'meddleWith';
      readonly name: string;
      readonly how: 'removeLabels' | 'deleteClaim' | 'writeStatus';
    };

const MIB = 1024 * 1024;

/** As a log shows it, and a reader repeats it by hand. */
export function describeStep(step: Step): string {
  switch (step.kind) {
    case 'apply': {
      const { name, path, version, settings } = step.wanted;
      const at = path === name ? '' : ` at ${path}`;
      return `apply ${name}${at}: ${describeVersion(version)}, ${JSON.stringify(settings)}`;
    }
    case 'replace':
      return `replace ${step.name}: ${describeVersion(step.version)}`;
    case 'edit':
      return `edit ${step.name}: ${describeEdit(step.settings)}`;
    case 'delete':
      return `delete ${step.name}`;
    case 'cordon':
    case 'drain':
    case 'uncordon':
    case 'powerOff':
    case 'powerOn':
    case 'removeNode':
    case 'joinNode':
    case 'reinstall':
      return `${step.kind} ${step.node}`;
    case 'relabel':
      return `${step.node} ${step.inPool ? 'joins' : 'leaves'} the pool`;
    case 'kill':
    case 'evict':
      return `${step.kind} ${step.component} #${step.which}`;
    case 'freeze':
      return `freeze ${step.component} #${step.which} for ${step.seconds} s`;
    case 'rollOut':
      return 'roll out the operator';
    case 'originTrouble':
      return `the origin: ${step.how} for ${step.seconds} s`;
    case 'damage':
      return `${step.how} #${step.which} of ${step.name} on ${step.node}`;
    case 'meddle':
      return `somebody: ${step.how}`;
    case 'meddleWith':
      return `somebody: ${step.how} of ${step.name}`;
  }
}

/** What is taken away shows as null. */
function describeEdit(settings: Partial<Settings>): string {
  return JSON.stringify(settings, (_, value) => (value === undefined ? null : value));
}

function describeVersion({ folder, files, kind, list, hasDigests }: Version): string {
  const mib = bytesOf(files) / MIB;
  const what = {
    one: 'one file',
    files: `${files.length} files`,
    list: `${files.length} files of ${list}`,
  }[kind];
  return `${folder}, ${what}, ${mib.toFixed(1)} MiB${hasDigests ? ', digests' : ''}`;
}

export function bytesOf(files: Version['files']): number {
  return files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
}
