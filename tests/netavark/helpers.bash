# netavark's helpers, with a vswitchd beside each test's "host": the network namespace from which the suite calls netavark.
source "${BASH_SOURCE%/*}/netavark-helpers.bash"

rename() { eval "$(declare -f "$1" | sed "1s/$1/$2/")"; }
rename basic_setup netavark_setup
rename basic_teardown netavark_teardown

function basic_setup() {
    netavark_setup
    # Ports are published as for root's podman.
    rootless=false
    # Addresses of interfaces without a carrier are there at once.
    nsenter -n -t "$HOST_NS_PID" sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0
    VSWITCH_FOLDER=$(mktemp -d "${BATS_TMPDIR:-/tmp}/vswitch_bats.XXXXXX")
    export VSWITCH_SOCKET="$VSWITCH_FOLDER/vswitch.sock"
    nsenter -n -m -w -t "$HOST_NS_PID" "$VSWITCHD" --ephemeral --socket "$VSWITCH_SOCKET" --state-dir "$VSWITCH_FOLDER/state" \
        &>"$VSWITCH_FOLDER/log" 3>&- 4>&- &
    VSWITCHD_PID=$!
    until grep -q "^vswitchd ready" "$VSWITCH_FOLDER/log"; do
        kill -0 "$VSWITCHD_PID" || { cat "$VSWITCH_FOLDER/log"; return 1; }
        sleep 0.01
    done
}

function basic_teardown() {
    kill "$VSWITCHD_PID" && wait "$VSWITCHD_PID" || true
    # The agent ends a moment later.
    until rm -rf "$VSWITCH_FOLDER" 2>/dev/null; do sleep 0.01; done
    netavark_teardown
}

# The host is on none of the networks, so a published port is asked for at the host itself, not at the gateway.
rename run_connection_test netavark_connection_test
function run_connection_test() {
    local address=$4
    if ! nsenter -n -t "$HOST_NS_PID" ip -o addr show to "$address" | grep -q .; then
        is_ipv6 "$address" && address=::1 || address=127.0.0.1
    fi
    netavark_connection_test "$1" "$2" "$3" "$address" "$5"
}

# Not every kernel has dummy interfaces; any other does as well.
rename run_in_host_netns netavark_run_in_host_netns
function run_in_host_netns() {
    if [[ "$*" == "ip link add "*" type dummy" ]]; then
        set -- "${@:1:$#-1}" veth
    fi
    netavark_run_in_host_netns "$@"
}

rename run_in_container_netns netavark_run_in_container_netns
function run_in_container_netns() {
    if [[ "$*" == "ip link add type dummy" ]]; then
        set -- ip link add dummy0 type veth
    elif [[ "$*" == *"ip link add "*" type dummy" ]]; then
        set -- "${@:1:$#-1}" veth
    fi
    netavark_run_in_container_netns "$@"
}

function setup() {
    basic_setup
}

function teardown() {
    basic_teardown
}
