#!/usr/bin/env bats
# vswitch as a network driver of netavark's own, which finds it in a plug-in directory: NETAVARK is the real one here.

load helpers

ID=2f259bab93aaaaa2542ba43ef33eb990d0999ee1b9924b557b7be53c0b7a1bb9
CONTAINER=7d8ae88bf55524156f70eb85804d61b7cc24c2924d107706955d724567a17fb2

function setup() {
    NETAVARK=$NETAVARK_OF_PODMAN
    basic_setup
}

# What podman asks for: a network that has only its name, id and driver.
function wish() {
    jq -n --arg id $ID '{
        network: {name: "own", id: $id, driver: "vswitch", dns_enabled: true, internal: false, ipv6_enabled: true},
        used: {interfaces: [], names: {}, subnets: []},
        options: {subnet_pools: [{base: "10.89.0.0/16", size: 24}], default_interface_name: "podman", check_used_subnets: true}
    }'
}

# The request of a container on the network in $network, with the address that ends in $1, and the last argument's ports.
function request() {
    jq -n --argjson network "$network" --arg container $CONTAINER --arg host "$1" --argjson ports "$2" '{
        container_id: $container, container_name: "web", port_mappings: $ports,
        networks: {own: {interface_name: "eth0", aliases: ["www"],
            static_ips: [$network.subnets[] | .subnet | sub("0/24$"; $host) | sub("::/64$"; "::" + $host)]}},
        network_info: {own: $network}
    }'
}

# Has netavark create the network, and gives each subnet the gateway that podman gives it.
function create_network() {
    run_netavark --plugin-directory "$PLUGINS" create <<<"$(wish)"
    network=$(jq -c '.subnets[] |= (if .gateway then . else .gateway = (.subnet | sub("0/24$"; "1") | sub("::/64$"; "::1")) end)' <<<"$output")
}

@test "driver - create, setup, teardown" {
    create_network
    assert_json "$network" .id == "$ID" "the id stays"
    assert_json "$network" .driver == vswitch "the driver stays"
    assert_json "$network" '.subnets | length' == 2 "a subnet of each family"

    request=$(request 9 '[{"host_ip": "", "container_port": 80, "host_port": 8080, "range": 1, "protocol": "tcp"}]')
    run_netavark --plugin-directory "$PLUGINS" setup "$(get_container_netns_path)" <<<"$request"
    answer=$(sed -n '/^{/p' <<<"$output")
    gateway=$(jq -r '.subnets[0].gateway' <<<"$network")
    assert_json "$answer" '.own.interfaces.eth0.subnets | length' == 2 "an address of each family"
    assert_json "$answer" '.own.dns_server_ips[0]' == "$gateway" "names are asked at the gateway"
    assert_json "$answer" '.own.dns_search_domains[0]' == dns.podman

    address=${gateway%.1}.9
    run_in_container_netns ip -o addr show eth0
    assert "$output" =~ "inet $address/24"
    run_in_container_netns ping -c 1 -w 10 "$gateway"
    run_in_container_netns dig +short +tries=3 www @"$gateway"
    assert "$output" =~ "$address"
    run_connection_test 0 tcp 80 127.0.0.1 8080

    # The same again changes nothing, as after a crash.
    run_netavark --plugin-directory "$PLUGINS" setup "$(get_container_netns_path)" <<<"$request"
    run_netavark --plugin-directory "$PLUGINS" teardown "$(get_container_netns_path)" <<<"$request"
    expected_rc=1 run_in_container_netns ip -o link show eth0
}

@test "driver - what is refused" {
    create_network
    request=$(request 9 null)
    expected_rc=1 run_netavark --plugin-directory "$PLUGINS" setup "$(get_container_netns_path)" \
        <<<"$(jq '.networks.own.static_ips = ["192.0.2.9"]' <<<"$request")"
    assert "$output" =~ 'plugin \\"vswitch\\" failed: exit code 1, message: ' "netavark tells it in its own form"
    assert "$output" =~ '192.0.2.9' "and what it is about"
    expected_rc=1 run_in_container_netns ip -o link show eth0
    # Without ever having been set up, and for a namespace that is gone.
    run_netavark --plugin-directory "$PLUGINS" teardown "$(get_container_netns_path)" <<<"$request"
    run_netavark --plugin-directory "$PLUGINS" teardown /proc/4194304/ns/net <<<"$request"
}
