/** Without these webtorrent finds no WebRTC, and does without. */
export const RTCPeerConnection = undefined;
export const RTCIceCandidate = undefined;
export const RTCSessionDescription = undefined;
