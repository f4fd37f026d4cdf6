//! Reading a question. Read first: RFC 1035 section 4.1, RFC 6891 (EDNS), RFC 9619 (one question).

use hickory_proto::op::{Edns, Header, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::DNSClass;
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};

/// How a question came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// One datagram.
    Udp,
    /// With its length before it, on a connection.
    Tcp,
}

/// A question that makes sense.
#[derive(Debug, Clone)]
pub struct Question {
    /// As it came.
    pub header: Header,
    /// What is asked.
    pub query: Query,
    /// What the client can take (RFC 6891).
    pub edns: Option<Edns>,
    /// Most bytes of a reply.
    pub limit: usize,
    /// Where the question section ends.
    pub end: usize,
}

/// Why there is no question.
#[derive(Debug, Clone)]
pub enum Refusal {
    /// Nothing may be answered: too short, or an answer itself.
    Silent,
    /// This is to be answered.
    Answer {
        /// Of the question.
        header: Header,
        /// What is wrong with it.
        code: ResponseCode,
        /// As far as it was read.
        question: Option<Box<Question>>,
    },
}

/// What a reply may be without EDNS (RFC 1035 section 4.2.1).
const PLAIN_LIMIT: usize = 512;

/// Largest datagram: what fits a network of the smallest IPv6 MTU unfragmented, as resolvers agreed in 2020. A client that
/// wants more uses TCP.
pub const MAX_DATAGRAM: u16 = 1232;

/// Most additional records that are read: OPT and a signature, and room for one more.
const MOST_ADDITIONALS: u16 = 3;

/// Reads a question.
///
/// # Errors
/// How to refuse what is none.
pub fn read(bytes: &[u8], transport: Transport) -> Result<Question, Refusal> {
    let mut decoder = BinDecoder::new(bytes);
    let header = Header::read(&mut decoder).map_err(|_| Refusal::Silent)?;
    // Answering an answer would let two servers talk for ever.
    if header.message_type == MessageType::Response {
        return Err(Refusal::Silent);
    }
    let refuse = |code| Refusal::Answer { header, code, question: None };
    if header.op_code != OpCode::Query {
        return Err(refuse(ResponseCode::NotImp));
    }
    let counts = header.counts;
    // RFC 9619 section 4: anything but one question is a format error.
    if counts.queries != 1 || counts.answers != 0 || counts.authorities != 0 || counts.additionals > MOST_ADDITIONALS {
        return Err(refuse(ResponseCode::FormErr));
    }
    let query = Query::read(&mut decoder).map_err(|_| refuse(ResponseCode::FormErr))?;
    let end = decoder.index();
    let mut question = Question { header, query, edns: None, limit: limit(transport, None), end };
    let read = Message::read_records(&mut decoder, counts.additionals.into(), true, OpCode::Query);
    let refuse = |code, question| Refusal::Answer { header, code, question: Some(Box::new(question)) };
    let Ok((_, edns, _)) = read else { return Err(refuse(ResponseCode::FormErr, question)) };
    question.limit = limit(transport, edns.as_ref());
    question.edns = edns;
    // RFC 6891 section 6.1.3.
    if question.edns.as_ref().is_some_and(|edns| edns.version() > 0) {
        return Err(refuse(ResponseCode::BADVERS, question));
    }
    if !matches!(question.query.query_class(), DNSClass::IN | DNSClass::ANY) {
        return Err(refuse(ResponseCode::Refused, question));
    }
    Ok(question)
}

fn limit(transport: Transport, edns: Option<&Edns>) -> usize {
    match (transport, edns) {
        (Transport::Tcp, _) => u16::MAX.into(),
        (Transport::Udp, None) => PLAIN_LIMIT,
        (Transport::Udp, Some(edns)) => usize::from(edns.max_payload().min(MAX_DATAGRAM)).max(PLAIN_LIMIT),
    }
}

impl Question {
    /// The name asked for, in lower case, without the final dot; `None` for one that no container can have.
    #[must_use]
    pub fn name(&self) -> Option<String> {
        let mut text = String::with_capacity(self.query.name().len());
        for label in self.query.name().iter() {
            if label.iter().any(|byte| !byte.is_ascii_graphic() || *byte == b'.') {
                return None;
            }
            if !text.is_empty() {
                text.push('.');
            }
            text.extend(label.iter().map(|byte| char::from(byte.to_ascii_lowercase())));
        }
        Some(text)
    }
}
