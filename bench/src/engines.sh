# An ordinary user's podman, with its own network or with vswitch's, between a host and the world outside. Runs in namespaces of its
# own, as root; prints "NAME VALUE" for each measurement, where VALUE may be what a tool printed.
#   engines.sh own|vswitch PROGRAMS SECONDS STARTS
set -eu
kind=$1 programs=$2 seconds=$3 starts=$4 user=61001
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs -o mode=1777 tmpfs /mnt
# slirp4netns opens it as an ordinary user.
mknod -m 666 /run/tun c 10 200 && mount --bind /run/tun /dev/net/tun
mkdir /mnt/programs && mount --bind "$programs" /mnt/programs
mount -t tmpfs -o mode=1777 tmpfs /tmp
mkdir -p /run/user/$user /tmp/home
chown $user:$user /run/user/$user /tmp/home
chmod 700 /run/user/$user

own=$(readlink /proc/self/ns/net)
unshare -n sleep 100000 &
outside=$!
until [ "$(readlink /proc/$outside/ns/net)" != "$own" ] && [ "$(cat /proc/$outside/comm)" = sleep ]; do kill -0 $outside; sleep 0.01; done
ip link set lo up
ip link add up0 type veth peer name out0 netns $outside
ip addr add 10.99.0.1/24 dev up0
ip link set up0 up
ip route add default via 10.99.0.2
nsenter -t $outside -n sh -c 'ip addr add 10.99.0.2/24 dev out0; ip link set out0 up; ip link set lo up'

# Words before those of an ordinary user's program, in whose place it is started.
as="setpriv --reuid $user --regid $user --clear-groups --inh-caps=-all -- env -i HOME=/tmp/home XDG_RUNTIME_DIR=/run/user/$user
    LC_ALL=C PATH=/mnt/programs:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"
settings=""
if [ "$kind" = vswitch ]; then
    $as vswitchd >/tmp/vswitchd.log 2>&1 &
    until [ -S /run/user/$user/vswitch/vswitch.sock ]; do kill -0 $!; sleep 0.01; done
    mkdir /tmp/helpers
    for name in netavark rootlessport; do ln -s /mnt/programs/vswitch-engine /tmp/helpers/$name; done
    settings="CONTAINERS_HELPER_BINARY_DIR=/tmp/helpers"
fi
$as unshare --user --map-root-user --mount sleep 100000 &
pause=$!
until [ "$(cat /proc/$pause/comm)" = sleep ]; do kill -0 $pause; sleep 0.01; done
settings="$settings _CONTAINERS_USERNS_CONFIGURED=done _CONTAINERS_ROOTLESS_UID=$user _CONTAINERS_ROOTLESS_GID=$user"
podman() {
    $as $settings nsenter -t $pause -U -m --preserve-credentials podman --cgroup-manager=cgroupfs --events-backend=none --runtime=runc \
        --storage-driver=vfs --root=/tmp/home/root --runroot=/tmp/home/run --tmpdir=/tmp/home/tmp \
        --network-config-dir=/tmp/home/networks "$@"
}

# The host's programs in an image of nothing else.
mkdir -p /tmp/image/usr /tmp/image/etc /tmp/image/tmp /tmp/image/proc /tmp/image/sys /tmp/image/dev /tmp/image/mnt
for link in bin lib lib64; do ln -s usr/$link /tmp/image/$link; done
tar -C /tmp/image -cf /tmp/image.tar .
podman import /tmp/image.tar box >/dev/null
podman network create --opt mtu=65520 bench >/dev/null
run() { podman run --network bench -v /usr:/usr:ro -v /mnt/programs:/mnt/programs:ro "$@"; }
run -d --name box -p 5201:5201 box sleep 100000 >/dev/null

nsenter -t $outside -n iperf3 -s >/dev/null &
nsenter -t $outside -n /mnt/programs/vswitch-load serve 10.99.0.2:5401 >/dev/null &
until nsenter -t $outside -n ss -Hltn | grep -q 5401 && nsenter -t $outside -n ss -Hltn | grep -q 5201; do sleep 0.01; done
echo "out $(podman exec box iperf3 -c 10.99.0.2 -t "$seconds" -J | tr -d '\n')"
echo "connections $(podman exec box /mnt/programs/vswitch-load connections 10.99.0.2:5401 "$seconds")"
podman exec -d box iperf3 -s >/dev/null
until podman exec box ss -Hltn | grep -q 5201; do sleep 0.01; done
echo "in $(nsenter -t $outside -n iperf3 -c 10.99.0.1 -t "$seconds" -J | tr -d '\n')"
for _ in $(seq "$starts"); do
    begin=$(date +%s%N)
    run --rm box true
    echo "start $((($(date +%s%N) - begin) / 1000))"
done
podman rm -fa -t 0 >/dev/null
