//! Names that stand for numbers. None is asked for elsewhere: a daemon without files must know them.

use vswitch_frame::ipv4::protocol;

/// A constant of the filter language (pcap-filter(7)).
pub(super) fn constant(word: &str) -> Option<u32> {
    CONSTANTS.iter().find(|(name, _)| *name == word).map(|(_, value)| *value)
}

/// A service's port, and its protocol if it has one only.
pub(super) fn service(word: &str) -> Option<(u16, Option<u8>)> {
    let found = SERVICES.iter().find(|(name, ..)| *name == word)?;
    Some((found.1, found.2))
}

/// The number of an IP protocol.
pub(super) fn ip_protocol(word: &str) -> Option<u8> {
    PROTOCOLS.iter().find(|(name, _)| *name == word).map(|(_, value)| *value)
}

/// An EtherType.
pub(super) fn ether_type(word: &str) -> Option<u16> {
    ETHER_TYPES.iter().find(|(name, _)| *name == word).map(|(_, value)| *value)
}

const CONSTANTS: [(&str, u32); 45] = [
    ("icmptype", 0),
    ("icmpcode", 1),
    ("icmp-echoreply", 0),
    ("icmp-unreach", 3),
    ("icmp-sourcequench", 4),
    ("icmp-redirect", 5),
    ("icmp-echo", 8),
    ("icmp-routeradvert", 9),
    ("icmp-routersolicit", 10),
    ("icmp-timxceed", 11),
    ("icmp-paramprob", 12),
    ("icmp-tstamp", 13),
    ("icmp-tstampreply", 14),
    ("icmp-ireq", 15),
    ("icmp-ireqreply", 16),
    ("icmp-maskreq", 17),
    ("icmp-maskreply", 18),
    ("icmp6type", 0),
    ("icmp6code", 1),
    ("icmp6-destinationunreach", 1),
    ("icmp6-packettoobig", 2),
    ("icmp6-timeexceeded", 3),
    ("icmp6-parameterproblem", 4),
    ("icmp6-echo", 128),
    ("icmp6-echoreply", 129),
    ("icmp6-multicastlistenerquery", 130),
    ("icmp6-multicastlistenerreportv1", 131),
    ("icmp6-multicastlistenerdone", 132),
    ("icmp6-routersolicit", 133),
    ("icmp6-routeradvert", 134),
    ("icmp6-neighborsolicit", 135),
    ("icmp6-neighboradvert", 136),
    ("icmp6-redirect", 137),
    ("icmp6-routerrenum", 138),
    ("icmp6-nodeinformationquery", 139),
    ("icmp6-nodeinformationresponse", 140),
    ("tcpflags", 13),
    ("tcp-fin", 0x01),
    ("tcp-syn", 0x02),
    ("tcp-rst", 0x04),
    ("tcp-push", 0x08),
    ("tcp-ack", 0x10),
    ("tcp-urg", 0x20),
    ("tcp-ece", 0x40),
    ("tcp-cwr", 0x80),
];

const TCP: Option<u8> = Some(protocol::TCP);
const UDP: Option<u8> = Some(protocol::UDP);

/// As Debian's /etc/services has them.
const SERVICES: [(&str, u16, Option<u8>); 34] = [
    ("bgp", 179, TCP),
    ("bootpc", 68, UDP),
    ("bootps", 67, UDP),
    ("domain", 53, None),
    ("domain-s", 853, None),
    ("echo", 7, None),
    ("ftp", 21, TCP),
    ("ftp-data", 20, TCP),
    ("http", 80, TCP),
    ("http-alt", 8080, None),
    ("https", 443, None),
    ("imap2", 143, TCP),
    ("imaps", 993, TCP),
    ("isakmp", 500, UDP),
    ("kerberos", 88, None),
    ("ldap", 389, None),
    ("ldaps", 636, None),
    ("mdns", 5353, UDP),
    ("mysql", 3306, TCP),
    ("nfs", 2049, None),
    ("ntp", 123, UDP),
    ("pop3", 110, TCP),
    ("pop3s", 995, TCP),
    ("postgresql", 5432, TCP),
    ("redis", 6379, TCP),
    ("sip", 5060, None),
    ("smtp", 25, TCP),
    ("snmp", 161, None),
    ("ssh", 22, TCP),
    ("sunrpc", 111, None),
    ("syslog", 514, UDP),
    ("telnet", 23, TCP),
    ("tftp", 69, UDP),
    ("vxlan", 4789, UDP),
];

const PROTOCOLS: [(&str, u8); 14] = [
    ("icmp", 1),
    ("igmp", 2),
    ("tcp", 6),
    ("udp", 17),
    ("dccp", 33),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("icmp6", 58),
    ("ipv6-icmp", 58),
    ("ospf", 89),
    ("pim", 103),
    ("vrrp", 112),
    ("sctp", 132),
];

const ETHER_TYPES: [(&str, u16); 5] =
    [("arp", 0x0806), ("ip", 0x0800), ("ip6", 0x86dd), ("lat", 0x6004), ("rarp", 0x8035)];
