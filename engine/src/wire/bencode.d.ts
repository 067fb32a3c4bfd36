/** The package ships no types; this is as much of it as is used. */
declare module 'bencode' {
  const bencode: {
    encode(value: unknown): Uint8Array;
    /** Throws on anything malformed. Strings come as Uint8Array, dictionaries as objects. */
    decode(bytes: Uint8Array): unknown;
  };
  export default bencode;
}
