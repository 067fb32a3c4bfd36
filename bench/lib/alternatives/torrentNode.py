"""One process of a libtorrent swarm, and the maker of the torrent.

torrentNode.py make FILE TORRENT TRACKER    writes a v1 torrent of FILE
torrentNode.py run  TORRENT FOLDER ADDRESS [WEB_SEED UPLOAD_BYTES_PER_SECOND]
    waits for a line on standard input (addresses of peers, with spaces between), downloads,
    says `done` when it has all, and goes on giving.
"""
import sys

import libtorrent as lt

PIECE_BYTES = 256 * 1024
PORT = 6881


def make(file, torrent, tracker):
    storage = lt.file_storage()
    lt.add_files(storage, file)
    made = lt.create_torrent(storage, PIECE_BYTES, flags=lt.create_torrent.v1_only)
    made.add_tracker(tracker)
    lt.set_piece_hashes(made, file[: file.rindex("/")])
    with open(torrent, "wb") as out:
        out.write(lt.bencode(made.generate()))


def run(torrent, folder, address, web_seed=None, upload_rate="0"):
    session = lt.session(
        {
            "listen_interfaces": f"{address}:{PORT}",
            "enable_dht": False,
            "enable_lsd": False,
            "enable_upnp": False,
            "enable_natpmp": False,
            # TCP only, whose share of a shaped link is not given away.
            "enable_incoming_utp": False,
            "enable_outgoing_utp": False,
            # Everybody belongs to one owner: nobody is choked, nobody has to earn anything.
            "unchoke_slots_limit": -1,
            "allow_multiple_connections_per_ip": True,
            "connection_speed": 200,
            "connections_limit": 500,
            "max_out_request_queue": 1000,
            "aio_threads": 2,
            # Acknowledgements of the own download need room beside what a relay gives.
            "upload_rate_limit": int(float(upload_rate)),
            "alert_mask": lt.alert.category_t.status_notification,
        }
    )
    print("ready", flush=True)
    peers = sys.stdin.readline().split()
    info = lt.torrent_info(torrent)
    params = lt.add_torrent_params()
    params.ti = info
    params.save_path = folder
    params.trackers = []
    params.flags &= ~(lt.torrent_flags.paused | lt.torrent_flags.auto_managed)
    handle = session.add_torrent(params)
    if web_seed is not None:
        handle.add_url_seed(web_seed)
    for peer in peers:
        handle.connect_peer((peer, PORT))
    said = False
    while True:
        session.wait_for_alert(1000)
        for alert in session.pop_alerts():
            if isinstance(alert, lt.torrent_finished_alert):
                handle.flush_cache()
        if not said and handle.status().is_seeding:
            said = True
            print("done", flush=True)


{"make": make, "run": run}[sys.argv[1]](*sys.argv[2:])
