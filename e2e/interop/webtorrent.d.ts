/** The package ships no types; this is as much of it as is used. */
declare module 'webtorrent' {
  interface Torrent {
    on(event: string, listener: (value: unknown) => void): void;
    addPeer(address: string): boolean;
  }
  export default class WebTorrent {
    constructor(options: Readonly<Record<string, unknown>>);
    on(event: 'error', listener: (error: unknown) => void): void;
    add(torrent: Uint8Array, options: { readonly path: string }): Torrent;
  }
}
