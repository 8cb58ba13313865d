"""Checks how the services of compose.yaml share what they share, and prints the settings of one of them.

usage: compose_services.py COMPOSE.json SERVICE

COMPOSE.json is what compose makes of the file. Fails if a service of ours would not run twice (a folder of its
own, nothing shared but models), if an image has no version, or if the bucket's address, name or credentials
differ between who has them and who uses them. Prints SERVICE's variables, NAME=VALUE, each ended by a NUL.
"""

import json
import sys
from urllib.parse import urlsplit

OURS = ["cache", "edge", "embedding", "media", "search", "worker"]


def faults(services):
    for name, service in services.items():
        version = service["image"].rpartition(":")[2]
        if "/" in version or version in (service["image"], "latest"):
            yield f"the image of {name} has no version: {service['image']}"
    for name in OURS:
        folders = [volume for volume in services[name].get("volumes", []) if volume.get("type") == "volume"]
        shared = [volume for volume in folders if name != "embedding" or volume["target"] != "/data"]
        if shared or not (folders or any(one.startswith("/data:") for one in services[name].get("tmpfs", []))):
            yield f"two processes of {name} would share a data folder, or have none"
    server = services["objects"]
    key = (server["environment"]["ROOT_ACCESS_KEY_ID"], server["environment"]["ROOT_SECRET_ACCESS_KEY"])
    for name in ("media", "worker"):
        of = services[name]["environment"]
        if (of.get("AWS_ACCESS_KEY_ID"), of.get("AWS_SECRET_ACCESS_KEY")) != key:
            yield f"{name} has not the credentials of the bucket"
        address = urlsplit(of["MEDIAMESH_STORAGE__ENDPOINT"])
        if address.hostname not in server["networks"]["default"]["aliases"]:
            yield f"{name} looks for the bucket at {address.hostname}, where nobody is"
        port = server["ports"][0]
        if {str(address.port), str(port["published"]), server["environment"]["VGW_PORT"].strip(":")} != {str(port["target"])}:
            yield "the bucket is at different ports from inside and from outside"


def main():
    with open(sys.argv[1]) as file:
        services = json.load(file)["services"]
    wrong = list(faults(services))
    if wrong:
        sys.exit("\n".join(f"compose.yaml: {fault}" for fault in wrong))
    for name, value in services[sys.argv[2]]["environment"].items():
        if name.startswith("MEDIAMESH_") and name != "MEDIAMESH_CONFIG":
            sys.stdout.write(f"{name}={value}\0")


main()
