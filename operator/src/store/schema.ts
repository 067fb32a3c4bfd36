/**
 * Versions of what is kept: documents in the database, marks in the status of Origins. Each says
 * with which one it was written. One number for all of them, so that a release can say in a word
 * what it reads. How a version comes to be: docs/adr/0026.
 */

/** Where something of ours is kept. */
type Kept = 'journal' | 'snapshots' | 'distributions' | 'assignments' | 'marks';

/** As it is kept; absent: before there were versions. */
export interface Versioned {
  readonly schema?: number;
}

type Fields = Readonly<Record<string, unknown>>;

/** From one version to the next; of what is not named nothing changes. */
export interface SchemaStep {
  readonly up: Readonly<Partial<Record<Kept, (fields: Fields) => Fields>>>;
  /** For the one release that reads the newer version already and writes the older one still. */
  readonly down: Readonly<Partial<Record<Kept, (fields: Fields) => Fields>>>;
}

/**
 * Looked for, or changed, without the rest of a document, and so in the form in which that was
 * written: no step has these. What becomes of them is something new beside them.
 */
export const WITHOUT_STEPS: Readonly<Record<Kept, readonly string[]>> = {
  journal: ['origin', 'sequence', 'nonce', 'fence'],
  snapshots: ['origin', 'sequence'],
  distributions: [
    ...['epoch', 'swarmId', 'owner', 'name', 'namespace', 'unproven', 'plot'],
    ...['revokedPullers', 'mirrors', 'droppedMirrors', 'completedAt'],
  ],
  assignments: ['uid', 'number'],
  marks: ['host'],
};

/** The first one is to version 1, that of the first release: before it nothing had a version. */
export const STEPS: readonly SchemaStep[] = [{ up: {}, down: {} }];
/** A release writes what the one before it can read. */
const WRITTEN = 1;

/** It is of a release to come: whatever would be done with it could be wrong. */
export class NewerSchemaError extends Error {
  readonly code = 'NewerSchema';

  constructor(what: string, found: number, newest: number) {
    super(
      `${what} has schema version ${found}, and this release reads up to ${newest}: go back to the release that has written it; nothing was changed`,
    );
    this.name = 'NewerSchemaError';
  }
}

export class Schema {
  /** What is written. */
  readonly written: number;
  readonly #steps: readonly SchemaStep[];

  constructor(steps: readonly SchemaStep[] = STEPS, written = WRITTEN) {
    this.#steps = steps;
    this.written = written;
  }

  /** The newest that can be read, in which everything is once it was. */
  get newest(): number {
    return this.#steps.length;
  }

  /** For filters: what a release to come has written is neither changed nor removed. */
  get readable() {
    return { schema: { $not: { $gt: this.newest } } } as const;
  }

  /** `what`: for people. Throws a NewerSchemaError. */
  check(what: string, version: number): void {
    if (version > this.newest) throw new NewerSchemaError(what, version, this.newest);
  }

  /** Without its version, and in the newest one. Throws a NewerSchemaError. */
  read<T>(kept: Kept, what: string, row: T & Versioned): T {
    const { schema: version = 0, ...fields } = row as unknown as Fields & Versioned;
    this.check(what, version);
    // What the steps make of it is what this release's types say.
    return this.#steps
      .slice(version)
      .reduce<Fields>((now, { up }) => up[kept]?.(now) ?? now, fields) as T;
  }

  /** With the version that is written, and in it. */
  stamp<T extends object>(kept: Kept, row: T): T & { readonly schema: number } {
    const fields = this.#steps
      .slice(this.written)
      .toReversed()
      .reduce<Fields>((now, { down }) => down[kept]?.(now) ?? now, row as Fields);
    return { ...(fields as T), schema: this.written };
  }
}

export const schema = new Schema();
