use super::*;
use etherparse::PacketBuilder;
use proptest::prelude::*;

fn udp() -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
        .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
        .udp(4000, 53)
        .write(&mut frame, b"question")
        .unwrap();
    frame
}

fn matches(text: &str, frame: &[u8]) -> bool {
    Filter::new(text).unwrap().matches(frame)
}

/// A frame is found by what it is and not by what it is not.
#[test]
fn a_datagram() {
    let frame = udp();
    for text in [
        "",
        "udp",
        "udp port 53",
        "src host 10.0.0.1 and dst port domain",
        "net 10.0.0.0/8 and not tcp",
        "udp[2:2] = 53 and udp[8] = 0x71",
        "ether src 2:0:0:0:0:1",
        "port 80 or 53",
        "len = 50",
        "ip[8] > 63 && ip[8] <= 64",
        "host (10.0.0.9 or 10.0.0.2)",
    ] {
        assert!(matches(text, &frame), "{text:?}");
    }
    for text in ["tcp", "udp port 54", "dst host 10.0.0.1", "ip6", "arp", "not udp", "vlan", "less 49", "tcp[0] = 0"] {
        assert!(!matches(text, &frame), "{text:?}");
    }
}

/// `vlan` moves what is looked at behind it, and nothing else does.
#[test]
fn a_tag() {
    let frame = udp();
    let tagged = [&frame[..12], &[0x81, 0, 0, 5], &frame[12..]].concat();
    assert!(matches("vlan 5 and udp port 53", &tagged) && matches("vlan and not vlan", &tagged));
    assert!(!matches("udp port 53", &tagged) && !matches("vlan 6", &tagged) && !matches("vlan", &frame));
}

/// A frame that ends before what is asked of it matches neither the question nor its opposite.
#[test]
fn behind_the_end() {
    let cut = &udp()[..36];
    assert!(!matches("udp port 53", cut) && !matches("not udp port 53", cut) && matches("udp", cut));
    assert!(!matches("ether[100] = 0 or udp", cut) && matches("udp or ether[100] = 0", cut));
    assert!(!matches("ip[ip[0]:4] / ip[1] = 0", cut), "divided by zero");
    assert!(!matches("ether[0xffffffff:4] = 0", cut) && !matches("ip[0xfffffff0 + ip[0]] = 0", cut));
}

/// What is wrong is named with its place.
#[test]
fn wrong_filters() {
    let wrong = |text: &str| Filter::new(text).unwrap_err().to_string();
    for (text, at, word) in [
        ("udp prt 53", 5, "'and', 'or'"),
        ("udp port", 9, "an address or a number"),
        ("udp port 70000", 10, "65535"),
        ("tcp and (udp", 13, "')'"),
        ("host web", 6, "names are not asked for"),
        ("host 10.0.0.1.5", 6, "no IPv4 address"),
        ("net 10.0.0.1/8", 5, "beyond its prefix"),
        ("host 10.0.0.0/8", 15, "only 'net'"),
        ("udp[0:3] = 1", 7, "1, 2 or 4"),
        ("udp[0]", 7, "a comparison"),
        ("ip[0] / 0 = 1", 7, "divides by zero"),
        ("10.0.0.1", 1, "what is meant"),
        ("tcp and 80", 9, "what is meant"),
        ("icmp port 3", 11, "tcp, udp and sctp"),
        ("ether", 6, "'host' or 'proto'"),
        ("gateway 10.0.0.1", 1, "not supported"),
        ("flubber", 1, "no word"),
        ("udp # tcp", 5, "'#'"),
        ("udp and \u{e9}", 9, "'\u{e9}'"),
        ("vlan 5000", 6, "4095"),
        ("tcp host 10.0.0.1", 10, "not known to the protocol"),
        ("ip broadcast", 4, "ether broadcast"),
        ("99999999999 = len", 1, "32 bits"),
    ] {
        let message = wrong(text);
        assert!(message.contains(&format!("at character {at}:")) && message.contains(word), "{text:?}: {message}");
    }
    assert!(wrong(&"(".repeat(2000)).contains("deeper"), "{}", wrong(&"(".repeat(2000)));
    assert!(wrong(&"-".repeat(2000)).contains("deeper"));
    assert!(wrong(&"x".repeat(9000)).contains("longer"));
    assert!(wrong(&format!("{}1 = len", "1 + len * ( ".repeat(40))).contains("missing"));
}

/// The longest filters compile and run; nothing recurses as deep as a filter is long.
#[test]
fn long_filters() {
    let many = vec!["tcp"; 1100].join(" or ");
    assert!(matches(&format!("{many} or udp"), &udp()) && !matches(&many, &udp()));
    let negated = format!("{}udp", "not ".repeat(1001));
    assert!(!matches(&negated, &udp()));
    let sum = vec!["len"; 1300].join("+");
    assert!(matches(&format!("{sum} = {}", 50 * 1300), &udp()));
}

proptest! {
    /// Any words make a filter or an error with a place in the text, and a filter runs over any frame.
    #[test]
    fn any_words(words in proptest::collection::vec(prop_oneof![
        Just("and"), Just("or"), Just("not"), Just("("), Just(")"), Just("tcp"), Just("port"), Just("80"), Just("host"),
        Just("10.0.0.1"), Just("::1"), Just("["), Just("]"), Just(":"), Just("="), Just("&"), Just("-"), Just("len"),
        Just("vlan"), Just("ip"), Just("ether"), Just("proto"), Just("/"), Just("1:2:3:4:5:6"), Just("\\icmp"), Just("^"),
    ], 0..24), frame: Vec<u8>) {
        let text = words.join(" ");
        match Filter::new(&text) {
            Ok(filter) => { let _ = filter.matches(&frame); }
            Err(error) => prop_assert!(error.at <= text.len() && text.is_char_boundary(error.at)),
        }
    }

    /// Any text makes a filter or an error.
    #[test]
    fn any_text(text: String) {
        if let Err(error) = Filter::new(&text) {
            prop_assert!(error.at <= text.len());
        }
    }
}
