/** Hosts and ports, as regular expressions without anchors for the rules of both resources. */

const OCTET = '(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])';
export const IPV4 = `(${OCTET}[.]){3}${OCTET}`;
/** The end of a name that makes it an address of four, to whoever asks. */
export const NUMBER = '(0[xX][0-9a-fA-F]*|[0-9]+)';
/** From 1 to 65535, without zeros before it. */
export const PORT =
  '([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])';
