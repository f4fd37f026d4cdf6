//! The engine: bytes of a question and a scope in; bytes of a reply, or word that others must be asked, out.
//! Read first: RFC 1034 section 3.7, RFC 2308 (a name without such data is no missing name), RFC 6761 (localhost).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hickory_proto::op::{Edns, Header, Message, Metadata, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, PTR};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use rand::Rng;
use rand::seq::SliceRandom;

use super::query::{self, MAX_DATAGRAM, Question, Refusal, Transport};
use super::scope::{Owner, Scope};

/// What becomes of a question.
#[derive(Debug)]
pub(super) enum Step {
    /// This is the reply.
    Reply(Vec<u8>, Outcome),
    /// No network has the name: others are to be asked.
    Forward(Box<Question>),
    /// Nothing may be answered.
    Ignore,
}

/// What a reply says, for the counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The name exists, whether it has such data or not.
    Answered,
    /// The name does not exist.
    Missing,
    /// The question was refused or makes no sense.
    Refused,
}

/// Seconds that a reply may be kept: names follow containers at once.
const TTL: u32 = 0;

/// Answers a question from a scope. `rng` orders the addresses of a shared name.
pub(super) fn answer(bytes: &[u8], transport: Transport, scope: &Scope, rng: &mut impl Rng) -> Step {
    let question = match query::read(bytes, transport) {
        Ok(question) => question,
        Err(Refusal::Silent) => return Step::Ignore,
        Err(Refusal::Answer { header, code, question }) => {
            return Step::Reply(refusal(&header, question.as_deref(), code), Outcome::Refused);
        }
    };
    match find(&question, scope) {
        Found::Data(mut data) => {
            data.shuffle(rng);
            Step::Reply(positive(&question, data), Outcome::Answered)
        }
        Found::Missing => Step::Reply(negative(&question, ResponseCode::NXDomain), Outcome::Missing),
        Found::Refused => Step::Reply(negative(&question, ResponseCode::Refused), Outcome::Refused),
        Found::Elsewhere => Step::Forward(Box::new(question)),
    }
}

impl Scope {
    /// The reply to a question that came as a datagram and is for this scope's networks; `None` for others, which are to be
    /// forwarded or ignored. `rng` orders the addresses of a shared name.
    #[must_use]
    pub fn reply(&self, question: &[u8], rng: &mut impl Rng) -> Option<Vec<u8>> {
        match answer(question, Transport::Udp, self, rng) {
            Step::Reply(reply, _) => Some(reply),
            Step::Forward(_) | Step::Ignore => None,
        }
    }
}

/// The reply that says only this.
pub(super) fn negative(question: &Question, code: ResponseCode) -> Vec<u8> {
    encode(&message(&question.header, Some(question), code))
}

enum Found {
    /// The name exists; there may be nothing of the type asked for.
    Data(Vec<RData>),
    Missing,
    Refused,
    Elsewhere,
}

fn find(question: &Question, scope: &Scope) -> Found {
    let kind = question.query.query_type();
    // Zones are not handed out as a whole, and the rest of the types are no questions.
    if matches!(kind, RecordType::AXFR | RecordType::IXFR | RecordType::OPT | RecordType::ZERO) {
        return Found::Refused;
    }
    let Some(name) = question.name() else { return Found::Elsewhere };
    if name == "localhost" || name.ends_with(".localhost") {
        return Found::Data(addresses(kind, &[Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]));
    }
    if let Some(address) = name.ends_with(".arpa").then(|| reverse(question.query.name())).flatten() {
        return match scope.owner(address) {
            Owner::Named(names) => pointers(kind, &names),
            Owner::Nobody => Found::Missing,
            Owner::Elsewhere => Found::Elsewhere,
        };
    }
    match scope.addresses(&name) {
        Some(found) => Found::Data(addresses(kind, &found)),
        None if scope.keeps(&name) => Found::Missing,
        None => Found::Elsewhere,
    }
}

fn addresses(kind: RecordType, all: &[IpAddr]) -> Vec<RData> {
    let wanted = |address: &&IpAddr| match kind {
        RecordType::A => address.is_ipv4(),
        RecordType::AAAA => address.is_ipv6(),
        kind => kind == RecordType::ANY,
    };
    let data = |address: &IpAddr| match *address {
        IpAddr::V4(address) => RData::A(A(address)),
        IpAddr::V6(address) => RData::AAAA(AAAA(address)),
    };
    all.iter().filter(wanted).map(data).collect()
}

fn pointers(kind: RecordType, names: &[Box<str>]) -> Found {
    if !matches!(kind, RecordType::PTR | RecordType::ANY) {
        return Found::Data(Vec::new());
    }
    // Names of containers and networks may be longer than a label or a name of the DNS.
    let valid = names.iter().filter_map(|name| Name::from_ascii(format!("{name}.")).ok());
    Found::Data(valid.map(|name| RData::PTR(PTR(name))).collect())
}

/// The whole address that a name under in-addr.arpa or ip6.arpa stands for.
fn reverse(name: &Name) -> Option<IpAddr> {
    let net = name.parse_arpa_name().ok()?;
    (net.prefix_len() == net.max_prefix_len()).then(|| net.addr())
}

fn positive(question: &Question, data: Vec<RData>) -> Vec<u8> {
    let mut reply = message(&question.header, Some(question), ResponseCode::NoError);
    reply.metadata.authoritative = true;
    let empty = encode(&reply).len();
    let mut left = question.limit.saturating_sub(empty);
    for data in data {
        let need = ANSWER_HEADER + data_length(&data);
        if need > left {
            // RFC 2181 section 9: the client asks again over TCP.
            reply.metadata.truncation = true;
            break;
        }
        left -= need;
        reply.add_answer(Record::from_rdata(question.query.name().clone(), TTL, data));
    }
    encode(&reply)
}

/// A compressed name, type, class, TTL and length.
const ANSWER_HEADER: usize = 12;

fn data_length(data: &RData) -> usize {
    match data {
        RData::A(_) => 4,
        RData::AAAA(_) => 16,
        // One byte of length before each label and the root's, where the text has dots.
        RData::PTR(PTR(name)) => name.len() + 1,
        _ => usize::from(u16::MAX),
    }
}

fn refusal(header: &Header, question: Option<&Question>, code: ResponseCode) -> Vec<u8> {
    encode(&message(header, question, code))
}

fn message(header: &Header, question: Option<&Question>, code: ResponseCode) -> Message {
    let mut reply = Message::response(header.id, header.op_code);
    reply.metadata = Metadata::response_from_request(header);
    reply.metadata.recursion_available = true;
    reply.metadata.response_code = code;
    if let Some(question) = question {
        reply.add_query(Query::clone(&question.query));
        if let Some(asked) = &question.edns {
            let mut edns = Edns::new();
            edns.set_max_payload(MAX_DATAGRAM).set_version(0).set_dnssec_ok(asked.flags().dnssec_ok);
            reply.set_edns(edns);
        }
    }
    reply
}

fn encode(reply: &Message) -> Vec<u8> {
    // Only a message of more than 64 KiB, or an invalid name, cannot be written; neither gets here.
    reply.to_vec().unwrap_or_default()
}

#[cfg(test)]
mod tests;
