"""Docker's Python SDK against vswitchd. Arguments: the socket, the name of a running container."""

import sys
import threading

import docker
from docker import errors, types

client = docker.DockerClient(base_url="unix://" + sys.argv[1], version="auto")
name = sys.argv[2]


def refused(status, text, call, *args, **kwargs):
    """Expects an error with this status and text."""
    try:
        call(*args, **kwargs)
    except errors.APIError as error:
        assert error.status_code == status and text in error.explanation, (status, text, error)
    else:
        raise AssertionError(f"{call} should have failed with {status}: {text}")


assert client.ping() is True
assert client.version()["Platform"]["Name"] == "vswitch"
assert client.info()["ContainersRunning"] == 1

# Networks with everything that the SDK can say.
pool = types.IPAMPool(subnet="10.44.0.0/16", iprange="10.44.5.0/24", gateway="10.44.5.254", aux_addresses={"nas": "10.44.1.1"})
net = client.networks.create(
    "sdk", driver="bridge", ipam=types.IPAMConfig(pool_configs=[pool]), options={"com.docker.network.driver.mtu": "1400"},
    labels={"tier": "front"}, enable_ipv6=False, internal=False, check_duplicate=True, attachable=True)
net.reload()
config = net.attrs["IPAM"]["Config"][0]
assert config == {"Subnet": "10.44.0.0/16", "IPRange": "10.44.5.0/24", "Gateway": "10.44.5.254", "AuxiliaryAddresses": {"nas": "10.44.1.1"}}, config
assert net.attrs["Labels"] == {"tier": "front"} and net.attrs["Options"]["com.docker.network.driver.mtu"] == "1400"
assert client.networks.get("sdk").id == net.id == client.networks.get(net.id[:12]).id
assert client.networks.get("sdk", scope="local").id == net.id
refused(404, "network sdk not found", client.networks.get, "sdk", scope="swarm")
refused(503, "no swarm mode", client.swarm.init)
other = client.networks.create("with space")
assert [one.name for one in client.networks.list(names=["sdk"])] == ["sdk"]
assert {one.name for one in client.networks.list(filters={"type": "custom"})} == {"sdk", "with space"}
assert [one.name for one in client.networks.list(filters={"label": ["tier=front"]}, greedy=True)] == ["sdk"]
assert [one.name for one in client.networks.list(ids=[other.id])] == ["with space"]

# Members come and go while the container runs.
container = client.containers.get(name)
assert container.status == "running" and container.name == name
net.connect(container, ipv4_address="10.44.9.9", aliases=["www"])
net.reload()
assert [one.name for one in net.containers] == [name], net.attrs
container.reload()
endpoint = container.attrs["NetworkSettings"]["Networks"]["sdk"]
assert endpoint["IPAddress"] == "10.44.9.9" and "www" in endpoint["Aliases"], endpoint
refused(403, "already exists in network sdk", net.connect, container)
refused(403, "has active endpoints", net.remove)
net.disconnect(container, force=True)
refused(404, "is not connected to the network sdk", net.disconnect, container)
refused(403, "Address already in use", net.connect, container, ipv4_address="10.44.1.1")
refused(400, "no configured subnet contains IP address 10.45.0.1", net.connect, container, ipv4_address="10.45.0.1")
refused(400, "user configured subnets", other.connect, container, ipv4_address="10.45.0.1")

# Errors are what the SDK makes exceptions of.
refused(409, "network with name sdk already exists", client.networks.create, "sdk")
refused(403, "pre-defined network and cannot be removed", client.networks.get("host").remove)
refused(400, "invalid filter 'size'", client.networks.list, filters={"size": "1"})
for call, missing in [(client.networks.get, "nowhere"), (client.containers.get, "nobody")]:
    try:
        call(missing)
    except errors.NotFound:
        pass
    else:
        raise AssertionError(missing)

# Containers, as far as they are ours.
assert [one.name for one in client.containers.list(filters={"name": name, "status": "running"})] == [name]
assert client.containers.list(all=True, filters={"label": "nothing"}) == []
assert client.api.inspect_container(name)["State"]["Running"] is True
assert container.image.id == container.attrs["Image"] and container.image.tags == []

# Events, live.
stream = client.events(decode=True, filters={"type": "network"})
seen = []
told = threading.Event()


def listen():
    for event in stream:
        if event["Actor"]["Attributes"]["name"] == "sdk":
            seen.append(event["Action"])
            if event["Action"] == "destroy":
                told.set()
                return


thread = threading.Thread(target=listen, daemon=True)
thread.start()
net.connect(container)
net.disconnect(container)
net.remove()
assert told.wait(30) and seen == ["connect", "disconnect", "destroy"], seen
container.stop(timeout=0)
assert container.wait()["StatusCode"] == 137
assert client.networks.prune()["NetworksDeleted"] == ["with space"]
container.remove()
assert client.containers.list(all=True) == []
print("everything")
