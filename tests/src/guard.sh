# The first process of a test's namespaces: prepares the host that the test sees, runs the test without any
# capability it would not have outside, and reaps what is left over.
# Arguments: the folder of the built programs, the test program (relative to it), the test's name.
set -eu
bin=$1 program=$2 name=$3 uid=$(id -u)
export PATH="/mnt/programs:/mnt/programs/tools:$PATH:/usr/local/sbin:/usr/sbin:/sbin"

mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs -o mode=1777 tmpfs /mnt
mkdir -p /mnt/programs "/run/user/$uid"
chmod 700 "/run/user/$uid"
mount --bind "$bin" /mnt/programs
mount -t tmpfs -o mode=1777 tmpfs /tmp
mkdir /tmp/home
# A disk that can be full.
mkdir /run/small
mount -t tmpfs -o mode=1777,size=4m tmpfs /run/small
# Where root's daemon keeps its state.
[ "$uid" != 0 ] || mount -t tmpfs -o mode=755 tmpfs /var/lib
echo 'nameserver 172.19.0.53' > /run/resolv.conf
resolv=$(readlink -m /etc/resolv.conf)
if [ ! -e "$resolv" ]; then
    mkdir -p "$(dirname "$resolv")"
    : > "$resolv"
fi
mount --bind /run/resolv.conf "$resolv"
case $name in
*::host_files_are_replaced | *::names_on_the_host)
    # The host's files may be replaced here: an /etc of the test's own, without what an ordinary user cannot read.
    mkdir /run/etc
    cp -a /etc/. /run/etc/ 2>/dev/null || true
    mount --bind /run/etc /etc
    ;;
*::a_tap_of_the_caller_s)
    # A node that users may open, where this machine's is root's alone.
    [ -w /dev/net/tun ] || mount --bind /mnt/programs/tools/tun /dev/net/tun
    ;;
*::the_host_by_podman_s_name)
    # A host that has an address.
    ip link add up0 type veth peer name up1
    ip addr add 192.0.2.7/24 dev up0
    ip link set up0 up
    ip link set up1 up
    ;;
*::host_reaches_containers)
    # What root has done for an ordinary user, to the letter of what vswitchctl says.
    if [ "$uid" != 0 ]; then
        # A node that users may open, where this machine's is root's alone.
        [ -w /dev/net/tun ] || mount --bind /mnt/programs/tools/tun /dev/net/tun
        command="ip tuntap add dev vs-shop mode tap user $uid"
        command="$command && ip link set dev vs-shop address 02:42:0a:05:00:02 mtu 1500 up"
        command="$command && ip addr add 10.5.0.2/24 dev vs-shop"
        command="$command && sysctl -qw net/ipv4/conf/vs-shop/forwarding=0"
        echo "$command" >/run/tap.command
        eval "$command"
    fi
    ;;
esac
ip link set lo up
ip route add 172.20.5.0/24 dev lo
cd /
export HOME=/tmp/home TMPDIR=/tmp XDG_RUNTIME_DIR="/run/user/$uid"
unset XDG_STATE_HOME XDG_CONFIG_HOME VSWITCH_SOCKET

set -- "/mnt/programs/$program" --exact "$name" --nocapture --include-ignored
if [ "$uid" != 0 ]; then
    set -- setpriv --inh-caps=-all --ambient-caps=-all -- "$@"
fi
status=0
"$@" || status=$?
exit $status
