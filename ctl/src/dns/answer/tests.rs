//! Questions of all sorts against a small scope.

use hickory_proto::op::{MessageType, OpCode};
use hickory_proto::rr::DNSClass;
use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::super::scope::Upstreams;
use super::super::scope::tests::view;
use super::*;

fn scope() -> Scope {
    let shared: Vec<(String, String)> = (2..250).map(|last| ("all".to_owned(), format!("10.2.0.{last}"))).collect();
    let shared: Vec<(&str, &str)> = shared.iter().map(|(name, address)| (name.as_str(), address.as_str())).collect();
    let red =
        [("web front abc", "10.1.0.2 fd00::2"), ("db front", "10.1.0.3"), ("six", "fd00::6"), ("x.y", "10.1.0.8")];
    Scope {
        fixed: Vec::new(),
        networks: vec![view("red", "10.1.0.0/24", &red), view("blue", "10.2.0.0/24", &shared)],
        upstreams: Upstreams::default(),
        domain: None,
    }
}

fn question(name: &str, kind: RecordType, change: impl FnOnce(&mut Message)) -> Vec<u8> {
    let mut message = Message::query();
    message.metadata.id = 0x1234;
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    change(&mut message);
    message.to_vec().unwrap()
}

fn step(bytes: &[u8], transport: Transport, scope: &Scope) -> Step {
    answer(bytes, transport, scope, &mut StdRng::seed_from_u64(1))
}

fn reply(bytes: &[u8], transport: Transport) -> Message {
    match step(bytes, transport, &scope()) {
        Step::Reply(reply, _) => Message::from_vec(&reply).unwrap(),
        other => panic!("no reply but {other:?}"),
    }
}

fn data(reply: &Message) -> Vec<String> {
    let mut all: Vec<String> = reply.answers.iter().map(|record| record.data.to_string()).collect();
    all.sort();
    all
}

/// What each name answers to each type: data, no data, or word that others must be asked.
#[test]
fn names_and_types() {
    let cases: [(&str, RecordType, Option<&[&str]>); 17] = [
        ("web.", RecordType::A, Some(&["10.1.0.2"])),
        ("WEB.", RecordType::AAAA, Some(&["fd00::2"])),
        ("web.red.", RecordType::A, Some(&["10.1.0.2"])),
        ("Web.Red.", RecordType::ANY, Some(&["10.1.0.2", "fd00::2"])),
        ("front.", RecordType::A, Some(&["10.1.0.2", "10.1.0.3"])),
        ("db.", RecordType::AAAA, Some(&[])),
        ("six.", RecordType::A, Some(&[])),
        ("web.", RecordType::MX, Some(&[])),
        ("web.", RecordType::TXT, Some(&[])),
        ("x.y.", RecordType::A, Some(&["10.1.0.8"])),
        ("localhost.", RecordType::A, Some(&["127.0.0.1"])),
        ("a.localhost.", RecordType::AAAA, Some(&["::1"])),
        ("2.0.1.10.in-addr.arpa.", RecordType::PTR, Some(&["web.red."])),
        ("web.blue.", RecordType::A, None),
        ("example.org.", RecordType::A, None),
        (".", RecordType::NS, None),
        ("1.0.9.10.in-addr.arpa.", RecordType::PTR, None),
    ];
    for (name, kind, wanted) in cases {
        let bytes = question(name, kind, |_| ());
        match (step(&bytes, Transport::Udp, &scope()), wanted) {
            (Step::Forward(_), None) => {}
            (Step::Reply(reply, Outcome::Answered), Some(wanted)) => {
                let reply = Message::from_vec(&reply).unwrap();
                assert_eq!(data(&reply), wanted, "{name} {kind}");
                assert_eq!(reply.metadata.response_code, ResponseCode::NoError);
                assert!(reply.metadata.authoritative && reply.metadata.recursion_available);
                assert!(reply.metadata.recursion_desired && !reply.metadata.truncation);
                assert_eq!((reply.metadata.id, reply.queries[0].name().to_ascii().as_str()), (0x1234, name));
                assert!(reply.answers.iter().all(|record| record.ttl == TTL));
            }
            (other, _) => panic!("{name} {kind}: {other:?}"),
        }
    }
}

/// An address of a network that nobody has, and a single label where the search domains are wanted, do not exist.
#[test]
fn missing_names() {
    let bytes = question("9.0.1.10.in-addr.arpa.", RecordType::PTR, |_| ());
    assert_eq!(reply(&bytes, Transport::Udp).metadata.response_code, ResponseCode::NXDomain);
    let mut scope = scope();
    scope.upstreams.keep_single_labels = true;
    let kept = step(&question("nobody.", RecordType::A, |_| ()), Transport::Udp, &scope);
    assert!(matches!(kept, Step::Reply(_, Outcome::Missing)), "{kept:?}");
    let asked = step(&question("nobody.example.", RecordType::A, |_| ()), Transport::Udp, &scope);
    assert!(matches!(asked, Step::Forward(_)), "{asked:?}");
}

/// An IPv6 address leads back to its name, whatever the case of the question.
#[test]
fn reverse_of_ipv6() {
    let name = format!("2.{}0.0.D.F.ip6.arpa.", "0.".repeat(27));
    assert_eq!(data(&reply(&question(&name, RecordType::PTR, |_| ()), Transport::Udp)), ["web.red."]);
}

/// Shared names come in every order, so that their load is shared.
#[test]
fn shared_names_rotate() {
    let (scope, bytes) = (scope(), question("front.", RecordType::A, |_| ()));
    let mut rng = StdRng::seed_from_u64(7);
    let mut first = std::collections::BTreeMap::new();
    for _ in 0..200 {
        let Step::Reply(reply, _) = answer(&bytes, Transport::Udp, &scope, &mut rng) else { panic!("no reply") };
        let reply = Message::from_vec(&reply).unwrap();
        assert_eq!(reply.answers.len(), 2);
        *first.entry(reply.answers[0].data.to_string()).or_insert(0) += 1;
    }
    assert!(first.len() == 2 && first.values().all(|count| *count > 50), "{first:?}");
}

/// Whatever does not fit is left out and said to be: 512 bytes without EDNS, what EDNS allows with it, everything over TCP.
#[test]
fn truncation() {
    let plain = question("all.", RecordType::A, |_| ());
    let with = |size: u16| {
        question("all.", RecordType::A, |message| {
            let mut edns = Edns::new();
            edns.set_max_payload(size).set_dnssec_ok(true);
            message.set_edns(edns);
        })
    };
    for (bytes, transport, limit) in [
        (plain.clone(), Transport::Udp, 512),
        (with(0), Transport::Udp, 512),
        (with(900), Transport::Udp, 900),
        (with(65535), Transport::Udp, usize::from(MAX_DATAGRAM)),
    ] {
        let Step::Reply(raw, _) = step(&bytes, transport, &scope()) else { panic!("no reply") };
        let reply = Message::from_vec(&raw).unwrap();
        assert!(reply.metadata.truncation && raw.len() <= limit && raw.len() + 16 > limit, "{} of {limit}", raw.len());
    }
    let whole = reply(&plain, Transport::Tcp);
    assert!(!whole.metadata.truncation && whole.answers.len() == 248 && whole.edns.is_none());
    let edns = reply(&with(900), Transport::Tcp).edns.unwrap();
    assert!(edns.flags().dnssec_ok && edns.max_payload() == MAX_DATAGRAM && edns.version() == 0);
}

/// Each kind of bad question gets the answer that its RFC says, or none.
#[test]
fn bad_questions() {
    let code = |bytes: &[u8]| reply(bytes, Transport::Udp).metadata.response_code;
    let ask = |change: fn(&mut Message)| question("web.", RecordType::A, change);
    let second = |message: &mut Message| {
        message.add_query(Query::query(Name::root(), RecordType::A));
    };
    assert_eq!(code(&ask(second)), ResponseCode::FormErr);
    assert_eq!(code(&ask(|message| message.queries.clear())), ResponseCode::FormErr);
    assert_eq!(code(&ask(|message| message.metadata.op_code = OpCode::Status)), ResponseCode::NotImp);
    let class = |message: &mut Message| {
        message.queries[0].set_query_class(DNSClass::CH);
    };
    assert_eq!(code(&ask(class)), ResponseCode::Refused);
    assert_eq!(code(&question("red.", RecordType::AXFR, |_| ())), ResponseCode::Refused);
    let version = ask(|message| {
        let mut edns = Edns::new();
        edns.set_version(1);
        message.set_edns(edns);
    });
    let refused = reply(&version, Transport::Udp);
    let high = refused.edns.unwrap().rcode_high();
    // BADVERS and BADSIG share a number.
    let code_of = |code: ResponseCode| u16::from(code);
    let whole = ResponseCode::from(high, refused.metadata.response_code.low());
    assert_eq!(code_of(whole), code_of(ResponseCode::BADVERS));
    let answer_record = ask(|message| {
        let record = Record::from_rdata(Name::root(), 0, RData::A(A(Ipv4Addr::LOCALHOST)));
        message.add_answer(record);
    });
    assert_eq!(code(&answer_record), ResponseCode::FormErr);
    let cut = ask(|_| ());
    assert_eq!(code(&cut[..cut.len() - 3]), ResponseCode::FormErr);
    let mut counts = cut.clone();
    counts[4..12].fill(0xff);
    assert_eq!(code(&counts), ResponseCode::FormErr);
    // A name that points at itself.
    let looped = [&cut[..12], &[0xc0, 12, 0, 1, 0, 1]].concat();
    assert_eq!(code(&looped), ResponseCode::FormErr);
    for silent in [ask(|message| message.metadata.message_type = MessageType::Response), cut[..11].to_vec(), Vec::new()]
    {
        assert!(matches!(step(&silent, Transport::Udp, &scope()), Step::Ignore));
    }
}

/// Names with dots or other bytes inside a label are nobody's here.
#[test]
fn odd_labels() {
    let odd = Name::from_labels([&b"web.red"[..]]).unwrap();
    let bytes = question(".", RecordType::A, |message| {
        message.queries[0].set_name(odd);
    });
    assert!(matches!(step(&bytes, Transport::Udp, &scope()), Step::Forward(_)));
}

proptest! {
    /// Noise never panics, and what is answered is a reply with the same number that fits.
    #[test]
    fn noise(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        check(&bytes);
    }

    /// The same of questions with a few bytes changed.
    #[test]
    fn nearly_questions(
        name in "([a-z]{1,8}\\.){0,4}",
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        length in any::<prop::sample::Index>(),
    ) {
        let name = if name.is_empty() { "." } else { &name };
        let mut bytes = question(name, RecordType::A, |message| {
            message.set_edns(Edns::new());
        });
        for (index, byte) in changes {
            let index = index.index(bytes.len());
            bytes[index] = byte;
        }
        bytes.truncate(bytes.len() - length.index(4));
        check(&bytes);
    }
}

fn check(bytes: &[u8]) {
    for transport in [Transport::Udp, Transport::Tcp] {
        if let Step::Reply(raw, _) = step(bytes, transport, &scope()) {
            let reply = Message::from_vec(&raw).unwrap();
            assert_eq!(reply.metadata.message_type, MessageType::Response);
            assert_eq!(raw[..2], bytes[..2]);
            assert!(transport == Transport::Tcp || raw.len() <= usize::from(MAX_DATAGRAM));
        }
    }
}
