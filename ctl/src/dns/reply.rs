//! What an upstream's reply is worth. Read first: RFC 5452 section 9 (what must match), RFC 2181 section 9 (truncation).

use hickory_proto::op::{Edns, Header, Message, MessageType, Query, ResponseCode};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};

use super::query::{MAX_DATAGRAM, Question};

/// What came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// An answer to the question.
    Whole,
    /// An answer that did not fit a datagram.
    Truncated,
    /// The resolver cannot or will not answer; another one may.
    Unwilling,
    /// No answer to this question.
    Foreign,
}

/// Judges a reply to `question` that was asked under the number `id`.
#[must_use]
pub fn judge(bytes: &[u8], id: u16, question: &Question) -> Verdict {
    let mut decoder = BinDecoder::new(bytes);
    let Ok(header) = Header::read(&mut decoder) else { return Verdict::Foreign };
    let ours =
        header.id == id && header.message_type == MessageType::Response && header.op_code == question.header.op_code;
    if !ours {
        return Verdict::Foreign;
    }
    let unwilling = matches!(
        header.response_code,
        ResponseCode::ServFail | ResponseCode::Refused | ResponseCode::NotImp | ResponseCode::FormErr
    );
    // A resolver that cannot read the question need not repeat it.
    if unwilling && header.counts.queries == 0 {
        return Verdict::Unwilling;
    }
    let same = header.counts.queries == 1
        && Query::read(&mut decoder).is_ok_and(|query| {
            query.name() == question.query.name()
                && query.query_type() == question.query.query_type()
                && query.query_class() == question.query.query_class()
        });
    match (same, unwilling, header.truncation) {
        (false, _, _) => Verdict::Foreign,
        (true, true, _) => Verdict::Unwilling,
        (true, false, true) => Verdict::Truncated,
        (true, false, false) => Verdict::Whole,
    }
}

/// The client's question under another number.
#[must_use]
pub fn with_number(bytes: &[u8], id: u16) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if let Some(number) = bytes.first_chunk_mut::<2>() {
        *number = id.to_be_bytes();
    }
    bytes
}

/// An upstream's reply as the client gets it: with its own number, and cut down to nothing but the word that it is too
/// long if it is.
#[must_use]
pub fn fit(bytes: &[u8], question: &Question) -> Vec<u8> {
    if bytes.len() <= question.limit {
        return with_number(bytes, question.header.id);
    }
    let mut short = Message::response(question.header.id, question.header.op_code);
    if let Ok(header) = Header::read(&mut BinDecoder::new(bytes)) {
        short.metadata = header.metadata;
        short.metadata.id = question.header.id;
    }
    short.metadata.truncation = true;
    short.add_query(question.query.clone());
    if let Some(asked) = &question.edns {
        let mut edns = Edns::new();
        edns.set_max_payload(MAX_DATAGRAM).set_version(0).set_dnssec_ok(asked.flags().dnssec_ok);
        short.set_edns(edns);
    }
    short.to_vec().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::OpCode;
    use hickory_proto::rr::{Name, RecordType};
    use proptest::prelude::*;

    use super::super::query::{Transport, read};
    use super::*;

    fn asked(name: &str) -> (Vec<u8>, Question) {
        let mut message = Message::query();
        message.metadata.id = 7;
        message.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
        let bytes = message.to_vec().unwrap();
        let question = read(&bytes, Transport::Udp).unwrap_or_else(|_| panic!("a question"));
        (bytes, question)
    }

    fn replied(id: u16, name: &str, change: impl FnOnce(&mut Message)) -> Vec<u8> {
        let mut message = Message::response(id, OpCode::Query);
        message.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
        change(&mut message);
        message.to_vec().unwrap()
    }

    /// Number, direction and question must match; case does not matter; refusals are told apart.
    #[test]
    fn verdicts() {
        let (bytes, question) = asked("Example.org.");
        let judge = |bytes: &[u8]| judge(bytes, 9, &question);
        assert_eq!(judge(&replied(9, "eXample.ORG.", |_| ())), Verdict::Whole);
        assert_eq!(judge(&replied(9, "example.org.", |m| m.metadata.truncation = true)), Verdict::Truncated);
        let code = |code| replied(9, "example.org.", |m: &mut Message| m.metadata.response_code = code);
        assert_eq!(judge(&code(ResponseCode::NXDomain)), Verdict::Whole);
        assert_eq!(judge(&code(ResponseCode::ServFail)), Verdict::Unwilling);
        let mute = replied(9, "example.org.", |m| {
            m.queries.clear();
            m.metadata.response_code = ResponseCode::FormErr;
        });
        assert_eq!(judge(&mute), Verdict::Unwilling);
        for foreign in [
            replied(8, "example.org.", |_| ()),
            replied(9, "example.com.", |_| ()),
            replied(9, "example.org.", |m| m.queries.clear()),
            with_number(&bytes, 9),
            Vec::new(),
        ] {
            assert_eq!(judge(&foreign), Verdict::Foreign);
        }
    }

    /// What fits is handed on as it is, but for the number; what does not becomes an empty truncated reply that fits.
    #[test]
    fn fitting() {
        let (_, question) = asked("example.org.");
        let small = replied(9, "example.org.", |_| ());
        let fitted = fit(&small, &question);
        assert_eq!((&fitted[..2], &fitted[2..]), (&[0, 7][..], &small[2..]));
        let large = [small, vec![0; 600]].concat();
        let fitted = Message::from_vec(&fit(&large, &question)).unwrap();
        assert!(fitted.metadata.truncation && fitted.answers.is_empty() && fitted.queries.len() == 1);
        assert_eq!(fitted.metadata.id, 7);
    }

    proptest! {
        /// Noise is never a panic, and never an answer unless it repeats number and question.
        #[test]
        fn noise(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let (_, question) = asked("example.org.");
            prop_assert!(matches!(judge(&bytes, 9, &question), Verdict::Foreign | Verdict::Unwilling));
            let fitted = fit(&bytes, &question);
            prop_assert!(fitted.len() <= question.limit);
        }
    }
}
