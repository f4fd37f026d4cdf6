//! Words become questions.
//!
//! As pcap-filter(7) has it: `not` binds closest; `and` and `or` bind alike, to the left; an address or number that follows one of them
//! without qualifiers takes those of the one before; `vlan` moves what the rest of the filter looks at.

use std::net::Ipv4Addr;

use vswitch_frame::ipv4::protocol;

use super::FilterError;
use super::names::{ether_type, ip_protocol, service};
use super::primitive::{Direction, Kind, Proto, Qualifiers, Shift, field, group, mac_address, mask32, mask128, test};
use super::program::{Base, Expression, Field, Is, Node, Op, Operator, Test};
use super::token::{Escaped, Placed, Token};

/// Reads a whole filter; `end` is where its text ends.
pub(super) fn parse(tokens: &[Placed], end: usize) -> Result<Node, FilterError> {
    let mut parser = Parser { tokens, next: 0, end, shift: Shift::default(), depth: 0 };
    let (node, _) = parser.expression(None)?;
    match parser.peek() {
        None => Ok(node),
        Some(_) => Err(parser.unexpected("'and', 'or' or the end")),
    }
}

struct Parser<'t> {
    tokens: &'t [Placed],
    next: usize,
    end: usize,
    shift: Shift,
    depth: usize,
}

/// Deepest brackets.
const DEEPEST: usize = 48;

type Parsed = Result<Node, FilterError>;

/// A number's expression, and what must be true of a frame that has it.
struct Number {
    guard: Option<Node>,
    value: Expression,
}

impl Parser<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next).map(|placed| &placed.token)
    }

    fn ahead(&self, by: usize) -> Option<&Token> {
        self.tokens.get(self.next + by).map(|placed| &placed.token)
    }

    fn place(&self) -> usize {
        self.tokens.get(self.next).map_or(self.end, |placed| placed.at)
    }

    fn error<T>(&self, message: impl Into<String>) -> Result<T, FilterError> {
        Err(FilterError::new(self.place(), message.into()))
    }

    fn unexpected(&self, wanted: &str) -> FilterError {
        let found = self.peek().map_or_else(|| "the end".to_owned(), |token| format!("'{token}'"));
        FilterError::new(self.place(), format!("{wanted} is missing before {found}"))
    }

    fn sign(&mut self, sign: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Sign(found)) if *found == sign);
        self.next += usize::from(found);
        found
    }

    fn keyword(&mut self, word: &str) -> bool {
        let found = is_word(self.peek(), word);
        self.next += usize::from(found);
        found
    }

    fn is_not(&mut self) -> bool {
        self.sign("!") || self.keyword("not")
    }

    fn close(&mut self) -> Result<(), FilterError> {
        if self.sign(")") { Ok(()) } else { Err(self.unexpected("')'")) }
    }

    /// Counts a bracket; each opening one must be followed by a `self.depth -= 1`.
    fn deeper(&mut self) -> Result<(), FilterError> {
        self.depth += 1;
        if self.depth > DEEPEST { self.error(format!("brackets are deeper than {DEEPEST}")) } else { Ok(()) }
    }

    /// Terms with `and` and `or` between them, and the qualifiers that a bare address behind them takes.
    fn expression(&mut self, before: Option<Qualifiers>) -> Result<(Node, Option<Qualifiers>), FilterError> {
        let (mut node, mut qualifiers) = self.term(before)?;
        loop {
            let both = self.sign("&&") || self.keyword("and");
            if !both && !self.sign("||") && !self.keyword("or") {
                return Ok((node, qualifiers));
            }
            let next = if self.begins_value() {
                self.value(qualifiers)?
            } else {
                let (next, now) = self.term(qualifiers)?;
                qualifiers = now;
                next
            };
            node = if both { node.and(next) } else { node.or(next) };
        }
    }

    /// Whether an address or number without qualifiers comes.
    fn begins_value(&self) -> bool {
        let mut by = 0;
        while matches!(self.ahead(by), Some(Token::Sign("!" | "("))) || is_word(self.ahead(by), "not") {
            by += 1;
        }
        match self.ahead(by) {
            Some(Token::Number(_)) => {
                let mut behind = by + 1;
                while matches!(self.ahead(behind), Some(Token::Sign(")"))) && behind < 2 * by + 1 {
                    behind += 1;
                }
                !matches!(self.ahead(behind), Some(Token::Sign(sign)) if is_operator(sign))
            }
            Some(Token::Dotted(..) | Token::Ipv6(_) | Token::Mac(_)) => true,
            Some(Token::Word(word, escaped)) => *escaped == Escaped::Yes || !is_reserved(word),
            _ => false,
        }
    }

    fn term(&mut self, before: Option<Qualifiers>) -> Result<(Node, Option<Qualifiers>), FilterError> {
        let mut negations = 0;
        while self.is_not() {
            negations += 1;
        }
        let (node, qualifiers) = self.positive(before)?;
        Ok((if negations % 2 == 1 { node.negated() } else { node }, qualifiers))
    }

    fn positive(&mut self, before: Option<Qualifiers>) -> Result<(Node, Option<Qualifiers>), FilterError> {
        let start = self.next;
        let mut arithmetic = None;
        if self.begins_number() {
            match self.relation() {
                Ok(node) => return Ok((node, None)),
                Err(error) => arithmetic = Some(error),
            }
            self.next = start;
        }
        if self.sign("(") {
            self.deeper()?;
            let inner = self.expression(before).and_then(|inner| self.close().map(|()| inner));
            self.depth -= 1;
            return match (inner, arithmetic) {
                (Ok((node, _)), _) => Ok((node, before)),
                // Who came further has understood more.
                (Err(error), Some(other)) if other.at > error.at => Err(other),
                (Err(error), _) => Err(error),
            };
        }
        if let Some(error) = arithmetic {
            return Err(error);
        }
        self.primitive()
    }

    fn begins_number(&self) -> bool {
        match self.peek() {
            Some(Token::Number(_) | Token::Sign("(" | "-")) => true,
            Some(Token::Word(word, Escaped::No)) => {
                word == "len" || (Proto::named(word).is_some() && self.ahead(1) == Some(&Token::Sign("[")))
            }
            _ => false,
        }
    }

    /// One number against another.
    fn relation(&mut self) -> Parsed {
        let left = self.number(0)?;
        let (is, negated) = match self.peek() {
            Some(Token::Sign("=" | "==")) => (Is::Equal, false),
            Some(Token::Sign("!=")) => (Is::Equal, true),
            Some(Token::Sign(">")) => (Is::Above, false),
            Some(Token::Sign("<=")) => (Is::Above, true),
            Some(Token::Sign(">=")) => (Is::AtLeast, false),
            Some(Token::Sign("<")) => (Is::AtLeast, true),
            _ => return Err(self.unexpected("a comparison")),
        };
        self.next += 1;
        let right = self.number(0)?;
        let question = Node::Test(Test::Relation { left: left.value, is, right: right.value });
        let question = if negated { question.negated() } else { question };
        let guards = [left.guard, right.guard].into_iter().flatten().reduce(Node::and);
        Ok(match guards {
            Some(guards) => guards.and(question),
            None => question,
        })
    }

    /// An expression whose operators bind at least so closely.
    fn number(&mut self, closeness: u8) -> Result<Number, FilterError> {
        let mut left = self.operand()?;
        while let Some(Token::Sign(sign)) = self.peek() {
            let Some((operator, binds)) = operator(sign) else { break };
            // These two have no rank in the language: they take what is nearest on the left and everything on the right.
            let unranked = matches!(operator, Operator::Xor | Operator::Remainder);
            if !unranked && binds < closeness {
                break;
            }
            let at = self.place();
            self.next += 1;
            let right = self.number(if unranked { 0 } else { binds + 1 })?;
            if matches!(operator, Operator::Divide | Operator::Remainder) && right.value == [Op::Number(0)] {
                return Err(FilterError::new(at, "this divides by zero".to_owned()));
            }
            if let ([Op::Number(one)], [Op::Number(other)]) = (&left.value[..], &right.value[..])
                && let Some(result) = operator.of(*one, *other)
            {
                left.value = vec![Op::Number(result)];
                continue;
            }
            left.value.extend(right.value);
            left.value.push(Op::Do(operator));
            left.guard = [left.guard, right.guard].into_iter().flatten().reduce(Node::and);
        }
        Ok(left)
    }

    fn operand(&mut self) -> Result<Number, FilterError> {
        self.deeper()?;
        let operand = self.operand_inside();
        self.depth -= 1;
        operand
    }

    fn operand_inside(&mut self) -> Result<Number, FilterError> {
        let plain = |op| Number { guard: None, value: vec![op] };
        match self.peek().cloned() {
            Some(Token::Number(value)) => {
                self.next += 1;
                Ok(plain(Op::Number(value)))
            }
            Some(Token::Sign("-")) => {
                self.next += 1;
                let mut operand = self.number(CLOSEST)?;
                operand.value.push(Op::Negate);
                Ok(operand)
            }
            Some(Token::Sign("(")) => {
                self.next += 1;
                let inner = self.number(0)?;
                self.close()?;
                Ok(inner)
            }
            Some(Token::Word(word, Escaped::No)) if word == "len" => {
                self.next += 1;
                Ok(plain(Op::Length))
            }
            Some(Token::Word(word, Escaped::No)) => match Proto::named(&word) {
                Some(proto) if self.ahead(1) == Some(&Token::Sign("[")) => {
                    self.next += 2;
                    self.bytes(proto)
                }
                _ => Err(self.unexpected("a number")),
            },
            _ => Err(self.unexpected("a number")),
        }
    }

    /// Behind `proto[`: which bytes.
    fn bytes(&mut self, proto: Proto) -> Result<Number, FilterError> {
        let index = self.number(0)?;
        let size = if self.sign(":") {
            match self.peek() {
                Some(Token::Number(1)) => 1,
                Some(Token::Number(2)) => 2,
                Some(Token::Number(4)) => 4,
                _ => return self.error("as many bytes as 1, 2 or 4 can be looked at"),
            }
        } else {
            0
        };
        self.next += usize::from(size > 0);
        if !self.sign("]") {
            return Err(self.unexpected("']'"));
        }
        let shift = self.shift;
        let (base, offset) = match proto {
            Proto::Ether => (Base::Frame, 0),
            Proto::Ip | Proto::Ip6 | Proto::Arp | Proto::Rarp | Proto::Stp => (Base::Frame, shift.l3(0)),
            Proto::Icmp6 => (Base::Frame, shift.l3(40)),
            Proto::Upon(_) | Proto::Upon4(_) => (Base::BehindIpv4(shift.l3(0)), 0),
        };
        let named = shift.proto(proto);
        let own = match proto {
            Proto::Ether => None,
            Proto::Icmp6 => {
                Some(shift.ipv6().and(test(field(shift.l3(6), 1), u32::MAX, Is::Equal, protocol::ICMPV6.into())))
            }
            Proto::Upon(_) | Proto::Upon4(_) => named.map(|named| shift.ipv4().and(named).and(shift.has_l4())),
            _ => named,
        };
        let guard = [index.guard, own].into_iter().flatten().reduce(Node::and);
        let mut value = index.value;
        value.push(Op::Load(Field { base, offset, size: size.max(1) }));
        Ok(Number { guard, value })
    }

    /// A protocol's name, an address with its qualifiers, or one of the words of their own.
    fn primitive(&mut self) -> Result<(Node, Option<Qualifiers>), FilterError> {
        let at = self.place();
        let proto = match self.peek() {
            Some(Token::Word(word, Escaped::No)) => Proto::named(word),
            _ => None,
        };
        self.next += usize::from(proto.is_some());
        if let Some(node) = self.word(proto)? {
            return Ok((node, None));
        }
        let direction = self.direction()?;
        let kind = self.kind();
        match (direction, kind, proto) {
            (None, Kind::Unsaid, Some(proto)) => match self.shift.proto(proto) {
                Some(node) => Ok((node, None)),
                None => Err(self.unexpected("what of the link is meant, such as 'host' or 'proto',")),
            },
            (None, Kind::Unsaid, None) => Err(self.unsaid(at)),
            _ => {
                let direction = direction.unwrap_or(Direction::Either);
                let qualifiers = Qualifiers { proto, direction, kind };
                Ok((self.value(Some(qualifiers))?, Some(qualifiers)))
            }
        }
    }

    fn unsaid(&self, at: usize) -> FilterError {
        match self.peek() {
            Some(Token::Word(word, _)) if UNSUPPORTED.contains(&word.as_str()) => {
                FilterError::new(at, format!("'{word}' is not supported by vswitch"))
            }
            Some(Token::Word(word, _)) => FilterError::new(at, format!("'{word}' is no word of the filter language")),
            Some(Token::Number(_) | Token::Dotted(..) | Token::Ipv6(_) | Token::Mac(_)) => {
                self.unexpected("what is meant, such as 'host', 'net' or 'port',")
            }
            _ => self.unexpected("a condition"),
        }
    }

    /// The words that are a question by themselves.
    fn word(&mut self, proto: Option<Proto>) -> Result<Option<Node>, FilterError> {
        let at = self.place();
        if self.keyword("broadcast") {
            return match proto {
                None | Some(Proto::Ether) => {
                    Ok(Some(mac_address(Direction::Destination, vswitch_frame::MacAddr::BROADCAST)))
                }
                _ => Err(FilterError::new(at, "only 'ether broadcast' is known: there is no netmask".to_owned())),
            };
        }
        if self.keyword("multicast") {
            let node = group(self.shift, proto);
            let none = || FilterError::new(at, "'multicast' is of ether, ip or ip6".to_owned());
            return node.ok_or_else(none).map(Some);
        }
        if proto.is_some() {
            return Ok(None);
        }
        let length = |is, value| Test::Relation { left: vec![Op::Length], is, right: vec![Op::Number(value)] };
        if self.keyword("less") {
            return Ok(Some(Node::Test(length(Is::Above, self.plain_number()?)).negated()));
        }
        if self.keyword("greater") {
            return Ok(Some(Node::Test(length(Is::AtLeast, self.plain_number()?))));
        }
        if self.keyword("vlan") {
            let identifier = match self.peek() {
                Some(Token::Number(value)) if *value > 0xfff => {
                    return self.error(format!("{value} is no VLAN, which is at most 4095"));
                }
                Some(Token::Number(value)) => Some(*value),
                _ => None,
            };
            self.next += usize::from(identifier.is_some());
            let node = self.shift.vlan(identifier);
            self.shift.0 += 4;
            return Ok(Some(node));
        }
        if self.keyword("pppoed") {
            return Ok(Some(self.shift.ether_type(0x8863)));
        }
        Ok(None)
    }

    fn plain_number(&mut self) -> Result<u32, FilterError> {
        let Some(Token::Number(value)) = self.peek() else { return Err(self.unexpected("a number")) };
        let value = *value;
        self.next += 1;
        Ok(value)
    }

    fn direction(&mut self) -> Result<Option<Direction>, FilterError> {
        let (first, second) = if self.keyword("src") {
            (Direction::Source, "dst")
        } else if self.keyword("dst") {
            (Direction::Destination, "src")
        } else {
            return Ok(None);
        };
        if !is_word(self.ahead(1), second) {
            return Ok(Some(first));
        }
        let joined = match self.peek() {
            Some(Token::Sign("||")) => Direction::Either,
            Some(Token::Sign("&&")) => Direction::Both,
            token if is_word(token, "or") => Direction::Either,
            token if is_word(token, "and") => Direction::Both,
            _ => return Err(self.unexpected("'and' or 'or'")),
        };
        self.next += 2;
        Ok(Some(joined))
    }

    fn kind(&mut self) -> Kind {
        let kinds = [
            ("host", Kind::Host),
            ("net", Kind::Net),
            ("port", Kind::Port),
            ("portrange", Kind::PortRange),
            ("proto", Kind::Proto),
        ];
        kinds.into_iter().find(|(word, _)| self.keyword(word)).map_or(Kind::Unsaid, |(_, kind)| kind)
    }

    /// What the qualifiers are of: one value, or several in brackets.
    fn value(&mut self, qualifiers: Option<Qualifiers>) -> Parsed {
        let mut negations = 0;
        while self.is_not() {
            negations += 1;
        }
        let node = if self.sign("(") {
            self.deeper()?;
            let mut node = self.value(qualifiers)?;
            loop {
                let both = self.sign("&&") || self.keyword("and");
                if !both && !self.sign("||") && !self.keyword("or") {
                    break;
                }
                let next = self.value(qualifiers)?;
                node = if both { node.and(next) } else { node.or(next) };
            }
            self.close()?;
            self.depth -= 1;
            node
        } else {
            self.one_value(qualifiers)?
        };
        Ok(if negations % 2 == 1 { node.negated() } else { node })
    }

    fn one_value(&mut self, qualifiers: Option<Qualifiers>) -> Parsed {
        let Some(Qualifiers { proto, direction, kind }) = qualifiers else {
            return Err(self.unexpected("what is meant, such as 'host', 'net' or 'port',"));
        };
        let at = self.place();
        let token = self.peek().cloned();
        let node = match (kind, token) {
            (_, None) => Err(self.unexpected("an address or a number")),
            (Kind::Host | Kind::Net | Kind::Unsaid, Some(token)) => self.address(proto, direction, kind, &token),
            (Kind::Port | Kind::PortRange, Some(token)) => self.port(proto, direction, kind, &token),
            (Kind::Proto, Some(token)) => self.proto_number(proto, direction, &token),
        };
        // What comes behind has not been looked at when the value itself is wrong.
        node.map_err(|error| if error.at > at { error } else { FilterError::new(at, error.message) })
    }

    fn address(&mut self, proto: Option<Proto>, direction: Direction, kind: Kind, token: &Token) -> Parsed {
        let wrong = |what: &str| format!("'{token}' is no {what}; names are not asked for, write the address");
        let applied = "such an address is not known to the protocol before it";
        let (shift, at) = (self.shift, self.place());
        let beyond =
            |address: &dyn std::fmt::Display| FilterError::new(at, format!("{address} has bits set beyond its prefix"));
        match token {
            Token::Mac(address) if proto == Some(Proto::Ether) && kind != Kind::Net => {
                self.next += 1;
                Ok(mac_address(direction, *address))
            }
            Token::Mac(_) => self.error("an Ethernet address is asked for by 'ether host'"),
            Token::Ipv6(address) => {
                if !matches!(proto, None | Some(Proto::Ip6)) {
                    return self.error(applied);
                }
                self.next += 1;
                let bits = self.prefix(kind, 128)?.unwrap_or(128);
                if address.to_bits() & !mask128(bits) != 0 {
                    return Err(beyond(address));
                }
                Ok(shift.ipv6_address(direction, *address, bits))
            }
            Token::Number(_) | Token::Dotted(..) => {
                let (address, mask) = match *token {
                    Token::Dotted(value, bits) => (value, mask32(bits)),
                    Token::Number(value) if kind == Kind::Net => promoted(value),
                    Token::Number(value) => (value, u32::MAX),
                    _ => return self.error(wrong("address")),
                };
                self.next += 1;
                let (address, mask) = self.masked(kind, token, address, mask)?;
                if address & !mask != 0 {
                    return Err(beyond(&Ipv4Addr::from(address)));
                }
                let node = shift.ipv4_address(proto, direction, address, mask);
                node.ok_or_else(|| FilterError::new(at, applied.to_owned()))
            }
            Token::Word(..) | Token::Sign(_) => self.error(wrong("address")),
        }
    }

    /// A prefix length or a mask behind an IPv4 address.
    fn masked(&mut self, kind: Kind, token: &Token, address: u32, mask: u32) -> Result<(u32, u32), FilterError> {
        let mask = if let Some(bits) = self.prefix(kind, 32)? {
            // What was left out of an address with a prefix is zero.
            mask32(bits)
        } else if self.keyword("mask") {
            let Some(Token::Dotted(mask, _)) = self.peek() else { return Err(self.unexpected("a mask")) };
            let mask = *mask;
            if kind != Kind::Net {
                return self.error("only 'net' takes a mask");
            }
            self.next += 1;
            mask
        } else {
            return Ok((address, mask));
        };
        Ok((if let Token::Number(value) = token { promoted(*value).0 } else { address }, mask))
    }

    fn prefix(&mut self, kind: Kind, most: u32) -> Result<Option<u32>, FilterError> {
        if !self.sign("/") {
            return Ok(None);
        }
        if kind != Kind::Net {
            return self.error("only 'net' takes a prefix length");
        }
        match self.peek() {
            Some(Token::Number(bits)) if *bits <= most => {
                let bits = *bits;
                self.next += 1;
                Ok(Some(bits))
            }
            _ => self.error(format!("a prefix length is a number up to {most}")),
        }
    }

    fn port(&mut self, proto: Option<Proto>, direction: Direction, kind: Kind, token: &Token) -> Parsed {
        let only = match proto {
            None => None,
            Some(Proto::Upon(value)) if PORTED.contains(&value) => Some(value),
            Some(_) => return self.error("only tcp, udp and sctp have ports"),
        };
        let port = |value: u32| u16::try_from(value).ok();
        let wrong = || format!("'{token}' is no port, which is a number up to 65535 or a known name");
        let (first, last, only) = match token {
            Token::Number(value) => (port(*value), port(*value), only),
            Token::Word(word, _) if kind == Kind::PortRange => {
                let range = word.split_once('-');
                let end = |text: &str| text.parse::<u16>().ok().or_else(|| service(text).map(|(port, _)| port));
                let (first, last) = range.map_or((None, None), |(first, last)| (end(first), end(last)));
                let ordered = |(first, last): (u16, u16)| if first > last { (last, first) } else { (first, last) };
                let both = first.zip(last).map(ordered);
                (both.map(|both| both.0), both.map(|both| both.1), only)
            }
            Token::Word(word, _) => match service(word) {
                Some((_, Some(of))) if only.is_some_and(|only| only != of) => {
                    return self.error(format!("'{word}' is a port of another protocol"));
                }
                Some((port, of)) => (Some(port), Some(port), only.or(of)),
                None => (None, None, only),
            },
            _ => (None, None, only),
        };
        let Some((first, last)) = first.zip(last) else { return self.error(wrong()) };
        self.next += 1;
        Ok(self.shift.ports(only, direction, first, last))
    }

    fn proto_number(&mut self, proto: Option<Proto>, direction: Direction, token: &Token) -> Parsed {
        if direction != Direction::Either {
            return self.error("'proto' has no direction");
        }
        let upon_ip = || match token {
            Token::Number(value) => Some(*value),
            Token::Word(word, _) => ip_protocol(word).map(u32::from),
            _ => None,
        };
        let shift = self.shift;
        let node = match proto {
            None => upon_ip().map(|value| shift.upon_ipv4(value).or(shift.upon_ipv6(value))),
            Some(Proto::Ip) => upon_ip().map(|value| shift.upon_ipv4(value)),
            Some(Proto::Ip6) => upon_ip().map(|value| shift.upon_ipv6(value)),
            Some(Proto::Ether) => match token {
                Token::Number(value) => Some(shift.ether_type(*value)),
                Token::Word(word, _) => ether_type(word).map(|value| shift.ether_type(value.into())),
                _ => None,
            },
            Some(_) => return self.error("'proto' is of ether, ip or ip6"),
        };
        let Some(node) = node else {
            return self.error(format!("'{token}' is no protocol: write its number, or its name behind a backslash"));
        };
        self.next += 1;
        Ok(node)
    }
}

const PORTED: [u8; 3] = [protocol::TCP, protocol::UDP, protocol::SCTP];

/// A network that is one number: the highest bytes of an address.
fn promoted(value: u32) -> (u32, u32) {
    let (mut value, mut mask) = (value, u32::MAX);
    while value != 0 && value & 0xff00_0000 == 0 {
        value <<= 8;
        mask <<= 8;
    }
    (value, mask)
}

fn is_word(token: Option<&Token>, word: &str) -> bool {
    matches!(token, Some(Token::Word(found, Escaped::No)) if found == word)
}

/// How closely a sign of unary minus binds.
const CLOSEST: u8 = 6;

fn operator(sign: &str) -> Option<(Operator, u8)> {
    Some(match sign {
        "|" => (Operator::Or, 1),
        "&" => (Operator::And, 2),
        "<<" => (Operator::Left, 3),
        ">>" => (Operator::Right, 3),
        "+" => (Operator::Add, 4),
        "-" => (Operator::Subtract, 4),
        "*" => (Operator::Multiply, 5),
        "/" => (Operator::Divide, 5),
        "%" => (Operator::Remainder, 5),
        "^" => (Operator::Xor, 5),
        _ => return None,
    })
}

fn is_operator(sign: &str) -> bool {
    operator(sign).is_some() || matches!(sign, "=" | "==" | "!=" | "<" | "<=" | ">" | ">=")
}

/// A word that cannot be an address's or a port's name.
fn is_reserved(word: &str) -> bool {
    Proto::named(word).is_some() || KEYWORDS.contains(&word) || UNSUPPORTED.contains(&word)
}

const KEYWORDS: [&str; 18] = [
    "and",
    "or",
    "not",
    "src",
    "dst",
    "host",
    "net",
    "mask",
    "port",
    "portrange",
    "proto",
    "less",
    "greater",
    "broadcast",
    "multicast",
    "vlan",
    "len",
    "pppoed",
];

/// Words of the language that are not understood here.
const UNSUPPORTED: [&str; 24] = [
    "gateway",
    "protochain",
    "inbound",
    "outbound",
    "ifindex",
    "mpls",
    "pppoes",
    "geneve",
    "vxlan",
    "llc",
    "iso",
    "ipx",
    "netbeui",
    "atalk",
    "aarp",
    "decnet",
    "lat",
    "moprc",
    "mopdl",
    "fddi",
    "tr",
    "wlan",
    "radio",
    "byte",
];
