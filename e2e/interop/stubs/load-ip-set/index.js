/** `input` is a blocklist; there is none. */
export default function loadIpSet(_input, _options, done) {
  done(null, null);
}
