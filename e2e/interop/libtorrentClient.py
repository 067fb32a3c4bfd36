"""A libtorrent client, and a maker of torrents.

libtorrentClient.py make VERSION PIECE_BYTES CONTENT TORRENT    v1, v2 or hybrid
libtorrentClient.py run  TORRENT FOLDER PORT [PEER_PORT]        downloads what FOLDER lacks, and gives
"""
import sys
import time

import libtorrent as lt

FLAGS = {
    "v1": lt.create_torrent.v1_only,
    "v2": lt.create_torrent.v2_only,
    # As BEP 52 has it: nothing follows the last file.
    "hybrid": lt.create_torrent.canonical_files_no_tail_padding,
}


def make(version, piece_bytes, content, torrent):
    storage = lt.file_storage()
    lt.add_files(storage, content)
    made = lt.create_torrent(storage, int(piece_bytes), flags=FLAGS[version])
    made.set_priv(True)
    lt.set_piece_hashes(made, content[: content.rindex("/")])
    with open(torrent, "wb") as out:
        out.write(lt.bencode(made.generate()))


def run(torrent, folder, port, peer_port=None):
    session = lt.session(
        {
            "listen_interfaces": f"127.0.0.1:{port}",
            "enable_dht": False,
            "enable_lsd": False,
            "enable_upnp": False,
            "enable_natpmp": False,
            "enable_incoming_utp": False,
            "enable_outgoing_utp": False,
            "allow_multiple_connections_per_ip": True,
            "alert_mask": lt.alert.category_t.error_notification
            | lt.alert.category_t.peer_notification
            | lt.alert.category_t.status_notification
            | lt.alert.category_t.connect_notification,
        }
    )
    params = lt.add_torrent_params()
    params.ti = lt.torrent_info(torrent)
    params.save_path = folder
    params.flags &= ~(lt.torrent_flags.paused | lt.torrent_flags.auto_managed)
    handle = session.add_torrent(params)
    while True:
        session.wait_for_alert(500)
        for alert in session.pop_alerts():
            print(alert.message(), flush=True)
        if peer_port is not None and not handle.status().is_seeding:
            handle.connect_peer(("127.0.0.1", int(peer_port)))
            time.sleep(0.2)


{"make": make, "run": run}[sys.argv[1]](*sys.argv[2:])
