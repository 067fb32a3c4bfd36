/**
 * A map that is never changed: each change gives a new one that shares all but the path to the
 * change with the one before, so a fold over a million entries copies a few small arrays an entry
 * and every state that somebody holds stays as it was. PURE. (A hash array mapped trie: Bagwell,
 * "Ideal Hash Trees", 2001.)
 *
 * The same entries give the same order, whatever came and went before them, except for keys whose
 * hashes are equal.
 */

interface Leaf<V> {
  readonly hash: number;
  readonly key: string;
  readonly value: V;
  /** Further keys with the same hash. */
  readonly next: Leaf<V> | undefined;
}

interface Branch<V> {
  /** A bit for each of 32 places that has something; the somethings are in `nodes`, in order. */
  readonly bitmap: number;
  readonly nodes: readonly Node<V>[];
}

type Node<V> = Leaf<V> | Branch<V>;

const BITS = 5;
const MASK = 31;

export class PersistentMap<V> implements ReadonlyMap<string, V> {
  static readonly #empty = new PersistentMap<never>(undefined, 0);
  readonly size: number;
  readonly #root: Node<V> | undefined;

  private constructor(root: Node<V> | undefined, size: number) {
    this.#root = root;
    this.size = size;
  }

  static empty<V>(): PersistentMap<V> {
    return PersistentMap.#empty;
  }

  static of<V>(entries: Iterable<readonly [string, V]>): PersistentMap<V> {
    let map = PersistentMap.empty<V>();
    for (const [key, value] of entries) map = map.with(key, value);
    return map;
  }

  get(key: string): V | undefined {
    return this.#find(key)?.value;
  }

  has(key: string): boolean {
    return this.#find(key) !== undefined;
  }

  with(key: string, value: V): PersistentMap<V> {
    const size = this.has(key) ? this.size : this.size + 1;
    return new PersistentMap(inserted(this.#root, { hash: hashOf(key), key, value }, 0), size);
  }

  without(key: string): PersistentMap<V> {
    if (this.#root === undefined || !this.has(key)) return this;
    return new PersistentMap(removed(this.#root, hashOf(key), key, 0), this.size - 1);
  }

  forEach(act: (value: V, key: string, map: ReadonlyMap<string, V>) => void): void {
    for (const { key, value } of this.#leaves()) act(value, key, this);
  }

  *entries(): MapIterator<[string, V]> {
    for (const { key, value } of this.#leaves()) yield [key, value];
  }

  *keys(): MapIterator<string> {
    for (const { key } of this.#leaves()) yield key;
  }

  *values(): MapIterator<V> {
    for (const { value } of this.#leaves()) yield value;
  }

  [Symbol.iterator](): MapIterator<[string, V]> {
    return this.entries();
  }

  #find(key: string): Leaf<V> | undefined {
    const hash = hashOf(key);
    let node = this.#root;
    for (let shift = 0; node !== undefined && 'nodes' in node; shift += BITS) {
      const bit = bitAt(hash, shift);
      node = (node.bitmap & bit) === 0 ? undefined : node.nodes[placeOf(node.bitmap, bit)];
    }
    let leaf = node;
    while (leaf !== undefined && leaf.key !== key) leaf = leaf.next;
    return leaf;
  }

  /** All at once: a generator for each level would cost more than the array. */
  #leaves(): Leaf<V>[] {
    const leaves: Leaf<V>[] = [];
    if (this.#root !== undefined) collect(this.#root, leaves);
    return leaves;
  }
}

/** FNV-1a over UTF-16 units, its bits mixed: the low ones choose the first branch. */
function hashOf(key: string): number {
  let hash = 0x811c9dc5;
  for (let at = 0; at < key.length; at += 1) {
    hash = Math.imul(hash ^ key.charCodeAt(at), 0x01000193);
  }
  return (hash ^ (hash >>> 15)) | 0;
}

function bitAt(hash: number, shift: number): number {
  return 1 << ((hash >>> shift) & MASK);
}

function placeOf(bitmap: number, bit: number): number {
  return bitCount(bitmap & (bit - 1));
}

function bitCount(bits: number): number {
  const pairs = bits - ((bits >>> 1) & 0x55555555);
  const nibbles = (pairs & 0x33333333) + ((pairs >>> 2) & 0x33333333);
  return Math.imul((nibbles + (nibbles >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
}

type NewLeaf<V> = Omit<Leaf<V>, 'next'>;

function inserted<V>(node: Node<V> | undefined, leaf: NewLeaf<V>, shift: number): Node<V> {
  if (node === undefined) return { ...leaf, next: undefined };
  if (!('nodes' in node)) {
    if (node.hash === leaf.hash) return { ...leaf, next: chainWithout(node, leaf.key) };
    const bit = bitAt(node.hash, shift);
    return inserted({ bitmap: bit, nodes: [node] }, leaf, shift);
  }
  const { bitmap, nodes } = node;
  const bit = bitAt(leaf.hash, shift);
  const place = placeOf(bitmap, bit);
  const copy = nodes.slice();
  if ((bitmap & bit) === 0) {
    copy.splice(place, 0, { ...leaf, next: undefined });
    return { bitmap: bitmap | bit, nodes: copy };
  }
  copy[place] = inserted(nodes[place], leaf, shift + BITS);
  return { bitmap, nodes: copy };
}

/** The key is there. */
function removed<V>(node: Node<V>, hash: number, key: string, shift: number): Node<V> | undefined {
  if (!('nodes' in node)) return chainWithout(node, key);
  const { bitmap, nodes } = node;
  const bit = bitAt(hash, shift);
  const place = placeOf(bitmap, bit);
  const left = removed(nodes[place] as Node<V>, hash, key, shift + BITS);
  const copy = nodes.slice();
  if (left === undefined) copy.splice(place, 1);
  else copy[place] = left;
  const [only, ...others] = copy;
  // A lone leaf goes up again, to where it would be had there never been another.
  if (others.length === 0 && (only === undefined || !('nodes' in only))) return only;
  return { bitmap: left === undefined ? bitmap & ~bit : bitmap, nodes: copy };
}

function chainWithout<V>(leaf: Leaf<V>, key: string): Leaf<V> | undefined {
  if (leaf.key === key) return leaf.next;
  if (leaf.next === undefined) return leaf;
  return { ...leaf, next: chainWithout(leaf.next, key) };
}

function collect<V>(node: Node<V>, leaves: Leaf<V>[]): void {
  if ('nodes' in node) {
    for (const each of node.nodes) collect(each, leaves);
    return;
  }
  for (let leaf: Leaf<V> | undefined = node; leaf !== undefined; leaf = leaf.next) {
    leaves.push(leaf);
  }
}
