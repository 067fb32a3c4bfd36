import { type DiskJob, type DiskResult, DiskWork } from '../diskWork.ts';
import type { FileFacts, FileSystem, OpenedFile } from '../fileSystem.ts';

/** What a power loss keeps or loses as one: smaller than on any disk, so that more is torn. */
const SECTOR_BYTES = 64;

interface FileNode {
  readonly kind: 'file';
  bytes: Buffer;
  /** What is certain to be on the disk. */
  durable: Buffer;
  /** Since the last sync, in order. */
  pending: ({ readonly at: number; readonly bytes: Buffer } | { readonly sizeBytes: number })[];
  mode: number;
  changedAtNs: bigint;
  durableChangedAtNs: bigint;
}

interface FolderNode {
  readonly kind: 'folder';
  entries: Map<string, Node>;
  durable: Map<string, Node>;
}

interface LinkNode {
  readonly kind: 'link';
  readonly target: string;
}

type Node = FileNode | FolderNode | LinkNode;

interface EntryChange {
  readonly folder: FolderNode;
  readonly name: string;
  /** Undefined: it is gone. */
  readonly node: Node | undefined;
}

/** Fails the operation with this number, and with `onwards` every one after it. */
export interface DiskFault {
  readonly operation: number;
  readonly code: string;
  readonly onwards: boolean;
  /** A write puts half of its bytes there before it fails. */
  readonly isTorn?: boolean;
  /** Only these operations; undefined: all. */
  readonly kinds?: ReadonlySet<string>;
}

/**
 * A file system in memory that forgets at a power loss what was not synced: each sector written and
 * each folder entry changed since its sync survives or not, as `random` has it. A rename survives
 * whole or not at all. Every operation counts, so that a test can crash at each of them.
 */
export class CrashingDisk implements FileSystem {
  operations = 0;
  /** Whether files can share bytes, as on XFS. */
  canClone = false;
  readonly log: string[] = [];
  fault: DiskFault | undefined;
  openedFiles = 0;
  mostOpenedFiles = 0;
  #root: FolderNode = folderNode();
  #entryChanges: EntryChange[][] = [];
  #opened = new Map<number, FileNode>();
  #nextDescriptor = 1;
  #boot = 1;
  #timeNs = 1n;
  #work = this.#newWork();

  /** After a crash of the process, whose operations all failed; the disk is as they left it. */
  startAnew(): void {
    this.fault = undefined;
    this.#opened = new Map();
    this.openedFiles = 0;
    this.#work = this.#newWork();
  }

  /** A byte is another one, on the disk and in memory, and nothing tells of it. */
  rot(path: string, at: number): void {
    const node = this.#find(path);
    if (node?.kind !== 'file') throw coded('ENOENT', path);
    for (const bytes of [node.bytes, node.durable]) bytes[at] = (bytes[at] as number) ^ 1;
  }

  losePower(random: () => number): void {
    this.startAnew();
    this.#boot += 1;
    for (const changes of this.#entryChanges) if (random() < 0.5) applyDurably(changes);
    this.#entryChanges = [];
    this.#reboot(this.#root, random, new Set());
  }

  #reboot(node: Node, random: () => number, seen: Set<Node>): void {
    if (seen.has(node)) return;
    seen.add(node);
    if (node.kind === 'link') return;
    if (node.kind === 'folder') {
      node.entries = new Map(node.durable);
      for (const entry of node.entries.values()) this.#reboot(entry, random, seen);
      return;
    }
    for (const change of node.pending) {
      if ('sizeBytes' in change) {
        if (random() < 0.5) node.durable = resized(node.durable, change.sizeBytes);
        continue;
      }
      for (let at = 0; at < change.bytes.length; ) {
        const end = at + SECTOR_BYTES - ((change.at + at) % SECTOR_BYTES);
        const sector = change.bytes.subarray(at, end);
        if (random() < 0.5) node.durable = written(node.durable, sector, change.at + at);
        at = end;
      }
    }
    if (random() < 0.5) node.durableChangedAtNs = node.changedAtNs;
    node.pending = [];
    node.bytes = Buffer.from(node.durable);
    node.changedAtNs = node.durableChangedAtNs;
  }

  bootId(): string {
    return `boot-${this.#boot}`;
  }

  async facts(path: string): Promise<FileFacts | undefined> {
    this.#operate('facts', path);
    const node = this.#find(path);
    return node === undefined ? undefined : factsOf(node);
  }

  async makeFolder(path: string): Promise<void> {
    this.#operate('makeFolder', path);
    const { folder, name } = this.#parentOf(path);
    if (folder.entries.has(name)) throw coded('EEXIST', path);
    this.#change([{ folder, name, node: folderNode() }]);
  }

  async open(path: string, access: 'read' | 'write' | 'create'): Promise<OpenedFile> {
    this.#operate('open', path);
    const { folder, name } = this.#parentOf(path);
    let node = folder.entries.get(name);
    if (node === undefined) {
      if (access !== 'create') throw coded('ENOENT', path);
      node = fileNode(this.#tick());
      this.#change([{ folder, name, node }]);
    }
    if (node.kind !== 'file') throw coded(node.kind === 'link' ? 'ELOOP' : 'EISDIR', path);
    return this.#openedFile(node, path);
  }

  async readLink(path: string): Promise<string | undefined> {
    this.#operate('readLink', path);
    const node = this.#find(path);
    if (node === undefined) return undefined;
    if (node.kind !== 'link') throw coded('EINVAL', path);
    return node.target;
  }

  async makeLink(target: string, path: string): Promise<void> {
    this.#operate('makeLink', path);
    const { folder, name } = this.#parentOf(path);
    if (folder.entries.has(name)) throw coded('EEXIST', path);
    this.#change([{ folder, name, node: { kind: 'link', target } }]);
  }

  async rename(from: string, to: string): Promise<void> {
    this.#operate('rename', to);
    const source = this.#parentOf(from);
    const node = source.folder.entries.get(source.name);
    if (node === undefined) throw coded('ENOENT', from);
    const target = this.#parentOf(to);
    this.#change([
      { ...source, node: undefined },
      { ...target, node },
    ]);
  }

  async clone(from: string, to: string): Promise<boolean> {
    this.#operate('clone', to);
    const source = this.#find(from);
    const { folder, name } = this.#parentOf(to);
    if (folder.entries.has(name)) this.#change([{ folder, name, node: undefined }]);
    if (!this.canClone || source?.kind !== 'file') return false;
    const node = fileNode(this.#tick());
    this.#change([{ folder, name, node }]);
    this.#write(node, source.bytes, 0);
    return true;
  }

  async remove(path: string): Promise<void> {
    this.#operate('remove', path);
    const { folder, name } = this.#parentOf(path);
    if (folder.entries.has(name)) this.#change([{ folder, name, node: undefined }]);
  }

  async list(path: string): Promise<string[]> {
    this.#operate('list', path);
    return [...this.#folderAt(path).entries.keys()];
  }

  async syncFolder(path: string): Promise<void> {
    this.#operate('syncFolder', path);
    const folder = this.#folderAt(path);
    const touches = (changes: EntryChange[]) => changes.some((each) => each.folder === folder);
    for (const changes of this.#entryChanges.filter(touches)) applyDurably(changes);
    this.#entryChanges = this.#entryChanges.filter((changes) => !touches(changes));
  }

  async run(job: DiskJob): Promise<DiskResult> {
    const result = this.#work.run(job);
    this.#work.afterwards(job);
    return result;
  }

  #newWork(): DiskWork {
    return new DiskWork({
      read: (descriptor, into, position) => {
        this.#operate('read', String(descriptor));
        return this.#fileOf(descriptor).bytes.copy(into, 0, position);
      },
      write: (descriptor, bytes, position) => {
        const file = this.#fileOf(descriptor);
        this.#operateWrite(String(descriptor), file, bytes, position);
        return bytes.byteLength;
      },
    });
  }

  #openedFile(node: FileNode, path: string): OpenedFile {
    const descriptor = this.#nextDescriptor;
    this.#nextDescriptor += 1;
    this.#opened.set(descriptor, node);
    this.openedFiles = this.#opened.size;
    this.mostOpenedFiles = Math.max(this.mostOpenedFiles, this.openedFiles);
    const sync = async () => {
      this.#operate('sync', path);
      node.durable = Buffer.from(node.bytes);
      node.durableChangedAtNs = node.changedAtNs;
      node.pending = [];
    };
    return {
      descriptor,
      facts: async () => {
        this.#operate('facts', path);
        return factsOf(node);
      },
      truncate: async (sizeBytes) => {
        this.#operate('truncate', path);
        this.#truncate(node, sizeBytes);
      },
      read: async (into, position) => {
        this.#operate('read', path);
        return node.bytes.copy(into, 0, position);
      },
      write: async (bytes, position) => {
        this.#operateWrite(path, node, bytes, position);
      },
      setMode: async (mode) => {
        this.#operate('setMode', path);
        node.mode = mode;
        node.changedAtNs = this.#tick();
      },
      syncData: sync,
      sync,
      close: async () => {
        this.#opened.delete(descriptor);
        this.openedFiles = this.#opened.size;
      },
    };
  }

  #operateWrite(what: string, node: FileNode, bytes: Uint8Array, at: number): void {
    try {
      this.#operate('write', what);
    } catch (error) {
      if (this.fault?.isTorn === true) this.#write(node, bytes.subarray(0, bytes.length / 2), at);
      throw error;
    }
    this.#write(node, bytes, at);
  }

  #operate(kind: string, what: string): void {
    this.operations += 1;
    this.log.push(`${kind} ${what}`);
    const { fault } = this;
    if (fault === undefined || fault.kinds?.has(kind) === false) return;
    const due = fault.onwards
      ? this.operations >= fault.operation
      : this.operations === fault.operation;
    if (due) throw coded(fault.code, `${kind} ${what}`);
  }

  #tick(): bigint {
    this.#timeNs += 1n;
    return this.#timeNs;
  }

  #change(changes: EntryChange[]): void {
    for (const { folder, name, node } of changes) {
      if (node === undefined) folder.entries.delete(name);
      else folder.entries.set(name, node);
    }
    this.#entryChanges.push(changes);
  }

  #write(node: FileNode, bytes: Uint8Array, at: number): void {
    const own = Buffer.from(bytes);
    node.bytes = written(node.bytes, own, at);
    node.pending.push({ at, bytes: own });
    node.changedAtNs = this.#tick();
  }

  #truncate(node: FileNode, sizeBytes: number): void {
    node.bytes = resized(node.bytes, sizeBytes);
    node.pending.push({ sizeBytes });
    node.changedAtNs = this.#tick();
  }

  #fileOf(descriptor: number): FileNode {
    const node = this.#opened.get(descriptor);
    if (node === undefined) throw coded('EBADF', String(descriptor));
    return node;
  }

  #find(path: string): Node | undefined {
    let node: Node | undefined = this.#root;
    for (const segment of path.split('/').filter((each) => each !== '')) {
      if (node?.kind !== 'folder') return undefined;
      node = node.entries.get(segment);
    }
    return node;
  }

  #folderAt(path: string): FolderNode {
    const node = this.#find(path);
    if (node === undefined) throw coded('ENOENT', path);
    if (node.kind !== 'folder') throw coded('ENOTDIR', path);
    return node;
  }

  #parentOf(path: string): { folder: FolderNode; name: string } {
    const at = path.lastIndexOf('/');
    return { folder: this.#folderAt(path.slice(0, at)), name: path.slice(at + 1) };
  }
}

function applyDurably(changes: readonly EntryChange[]): void {
  for (const { folder, name, node } of changes) {
    if (node === undefined) folder.durable.delete(name);
    else folder.durable.set(name, node);
  }
}

function folderNode(): FolderNode {
  return { kind: 'folder', entries: new Map(), durable: new Map() };
}

function fileNode(changedAtNs: bigint): FileNode {
  return {
    kind: 'file',
    bytes: Buffer.alloc(0),
    durable: Buffer.alloc(0),
    pending: [],
    mode: 0o644,
    changedAtNs,
    durableChangedAtNs: changedAtNs,
  };
}

function factsOf(node: Node): FileFacts {
  if (node.kind !== 'file') return { kind: node.kind, sizeBytes: 0, mode: 0o755, changedAtNs: 0n };
  const { mode, changedAtNs } = node;
  return { kind: 'file', sizeBytes: node.bytes.length, mode, changedAtNs };
}

function written(bytes: Buffer, part: Uint8Array, at: number): Buffer {
  const end = at + part.byteLength;
  const result = end > bytes.length ? resized(bytes, end) : Buffer.from(bytes);
  result.set(part, at);
  return result;
}

function resized(bytes: Buffer, sizeBytes: number): Buffer {
  const result = Buffer.alloc(sizeBytes);
  bytes.copy(result);
  return result;
}

function coded(code: string, what: string): Error {
  return Object.assign(new Error(`${code}: ${what}`), { code });
}
