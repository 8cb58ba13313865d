#!/usr/bin/env python3
"""Stores a picture, waits until it is processed, finds it by words, by stream and by itself, and reads
its bytes back.

    python client.py 127.0.0.1:8080 boat.jpg boat

The address may be the edge's, which also speaks REST, or that of gRPC alone. An API key is read from
MEDIAMESH_API_KEY. Generate the modules first; see README.md.
"""

import os
import sys
import time

import grpc

from mediamesh.media.v1 import media_item_pb2, media_service_pb2, media_service_pb2_grpc
from mediamesh.search.v1 import search_pb2, search_service_pb2, search_service_pb2_grpc

CHUNK = 64 * 1024
# a call without a deadline can hang for ever: give every call one
DEADLINE = 30


def chunks(content):
    return (content[at : at + CHUNK] for at in range(0, len(content), CHUNK))


def upload(media, name, content, metadata):
    """Client streaming: metadata first, then the bytes."""

    def messages():
        yield media_service_pb2.UploadMediaRequest(
            metadata=media_service_pb2.UploadMediaMetadata(
                display_name=name, folder="examples", size_bytes=len(content)
            )
        )
        for chunk in chunks(content):
            yield media_service_pb2.UploadMediaRequest(chunk=chunk)

    return media.UploadMedia(messages(), timeout=DEADLINE, metadata=metadata).media_item


def processed(media, item_id, metadata):
    """Waits until renditions, colours and hashes are there."""
    request = media_service_pb2.GetMediaItemRequest(media_item_id=item_id)
    give_up = time.monotonic() + 60
    while time.monotonic() < give_up:
        item = media.GetMediaItem(request, timeout=DEADLINE, metadata=metadata).media_item
        if item.state == media_item_pb2.MediaItem.STATE_READY:
            return item
        if item.state == media_item_pb2.MediaItem.STATE_FAILED:
            sys.exit(f"processing failed: {item.failure_reason}")
        time.sleep(0.2)
    sys.exit("still not processed")


def stream(search, request, metadata):
    """Server streaming: hits as they are found, then a summary."""
    wrapped = search_service_pb2.StreamSearchMediaRequest(search=request)
    messages = search.StreamSearchMedia(wrapped, timeout=DEADLINE, metadata=metadata)
    return [message.hit for message in messages if message.HasField("hit")]


def by_image(search, content, metadata):
    """What looks like these bytes."""

    def messages():
        yield search_service_pb2.SearchByImageRequest(search=search_pb2.SearchMediaRequest(limit=5))
        for chunk in chunks(content):
            yield search_service_pb2.SearchByImageRequest(chunk=chunk)

    return search.SearchByImage(messages(), timeout=DEADLINE, metadata=metadata).search.results


def download(media, item_id, metadata):
    """The original's bytes."""
    request = media_service_pb2.DownloadMediaRequest(media_item_id=item_id)
    messages = media.DownloadMedia(request, timeout=DEADLINE, metadata=metadata)
    return b"".join(message.chunk for message in messages)


def show(how, hits):
    print(f"{how}: {len(hits)} hits")
    for hit in hits:
        print(f"  {hit.score:.3f} {hit.id} {hit.display_name}")


def main():
    if len(sys.argv) != 4:
        sys.exit("usage: client.py HOST:PORT FILE WORDS")
    address, file, words = sys.argv[1:]
    key = os.environ.get("MEDIAMESH_API_KEY")
    metadata = [("authorization", f"Bearer {key}")] if key else []
    with open(file, "rb") as opened:
        content = opened.read()
    # one connection carries every call
    with grpc.insecure_channel(address) as channel:
        media = media_service_pb2_grpc.MediaServiceStub(channel)
        search = search_service_pb2_grpc.SearchServiceStub(channel)
        item = upload(media, os.path.basename(file), content, metadata)
        print(f"stored {item.display_name} as {item.id}")
        item = processed(media, item.id, metadata)
        print(f"processed: {item.width_pixels} x {item.height_pixels} pixels")
        request = search_pb2.SearchMediaRequest(query=words, limit=5)
        show("words", search.SearchMedia(request, timeout=DEADLINE, metadata=metadata).results)
        show("stream", stream(search, request, metadata))
        show("image", by_image(search, content, metadata))
        same = download(media, item.id, metadata) == content
        print(f"downloaded: {'the same bytes' if same else 'other bytes'}")


if __name__ == "__main__":
    main()
