"""``headstart cache``."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from headstart.columns import counted, table
from headstart.files import delete


def cache(
    clear: Annotated[
        bool, typer.Option("--clear", help="Delete all stored features, exported networks and remote photos.")
    ] = False,
) -> None:
    """Show or clear the cache. What is deleted is computed or requested again when it is needed.

    The cache holds outputs of frozen stages, exported networks, and photos from remote addresses. It is in
    ~/.cache/headstart, or in the folder that the environment variable HEADSTART_CACHE names. Stored features
    take up at most 20 GB, and at most a tenth of the free disk space; so do remote photos.
    """
    from datetime import datetime

    from headstart.environment import shared_cache
    from headstart.frozen import prefixes
    from headstart.frozen.cache import budget_bytes, cache_folder, list_stores
    from headstart.frozen.store import delete_store
    from headstart.images.remote_store import stored_photos
    from headstart.messages import without_password

    stores = list_stores()
    total = sum(store.num_bytes for store in stores)
    if clear:
        deleted = [store for store in stores if delete_store(store.path)]
        num_bytes = sum(store.num_bytes for store in deleted)
        print(f"Deleted {counted(len(deleted), 'store')}, {num_bytes / 1e6:,.1f} MB, from {cache_folder()}")
        if in_use := len(stores) - len(deleted):
            print(f"headstart: {counted(in_use, 'store')} in use by another process stay", file=sys.stderr)
        num_bytes = prefixes.used_bytes()
        if num_deleted := prefixes.clear():
            print(f"Deleted {counted(num_deleted, 'exported network')}, {num_bytes / 1e6:,.1f} MB")
        if photos := [(path, size) for _, path, size in stored_photos() if delete(path)]:
            num_bytes = sum(size for _, size in photos)
            print(f"Deleted {counted(len(photos), 'remote photo')}, {num_bytes / 1e6:,.1f} MB")
        return
    rows = [
        [
            str(store.about.get("backbone", "?")),
            str(store.about.get("cut", "?")),
            f"{store.num_rows:,}",
            f"{store.num_bytes / 1e6:,.1f}",
            datetime.fromtimestamp(store.opened).strftime("%Y-%m-%d %H:%M"),
        ]
        for store in stores
    ]
    if rows:
        print("\n".join(table(["backbone", "up to", "rows", "MB", "last opened"], rows)))
    if address := shared_cache():
        print(
            f"Features are stored at {without_password(address)}, which this command does not list or clear."
        )
    print(f"{total / 1e6:,.1f} MB of at most {budget_bytes() / 1e6:,.0f} MB in {cache_folder()}")
    if names := sorted({about["name"] for about in prefixes.kept()}):
        print(f"{prefixes.used_bytes() / 1e6:,.1f} MB of exported networks: {', '.join(names)}")
    if sizes := [size for _, _, size in stored_photos()]:
        print(f"{sum(sizes) / 1e6:,.1f} MB of remote photos: {len(sizes):,}")
