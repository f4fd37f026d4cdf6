//! What a filter becomes: a list of tests, each of which leads forwards to another one or to the end.
//!
//! As in classic BPF, whoever reads behind the frame's end has not matched, whatever the rest of the filter says: `not tcp port 80`
//! does not match a frame that is too short to have a port.

use super::FilterError;

/// Tests in order; the first is where it begins.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Program(Vec<Step>);

/// A test, and where it leads.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Step {
    test: Test,
    yes: Target,
    no: Target,
}

/// Where a test leads: to a later step, or to one of the ends.
type Target = u16;
const ACCEPT: Target = Target::MAX;
const REJECT: Target = Target::MAX - 1;

/// Most steps of a program, far below the ends.
const MOST_STEPS: usize = 16_384;
/// Most numbers that an expression holds at a time.
const STACK: usize = 32;

/// What a filter says, before it has an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node {
    And(Box<Node>, Box<Node>),
    Or(Box<Node>, Box<Node>),
    Not(Box<Node>),
    Test(Test),
}

/// One question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Test {
    /// Of a field, masked, against a number.
    Field { field: Field, mask: u32, is: Is, value: u32 },
    /// Of one expression against another.
    Relation { left: Expression, is: Is, right: Expression },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Is {
    Equal,
    Above,
    AtLeast,
}

/// Bytes of the frame, in network order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) base: Base,
    pub(super) offset: u32,
    /// 1, 2 or 4 bytes.
    pub(super) size: u8,
}

/// What an offset counts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Base {
    /// The frame's first byte.
    Frame,
    /// The end of the header of the IPv4 packet that begins there.
    BehindIpv4(u32),
}

/// Arithmetic of 32 bits without sign, as operations on a stack.
pub(super) type Expression = Vec<Op>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    Number(u32),
    /// The frame's length.
    Length,
    /// What lies at the offset on the stack, plus this one.
    Load(Field),
    Negate,
    Do(Operator),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    And,
    Or,
    Xor,
    Left,
    Right,
}

impl Node {
    pub(super) fn and(self, other: Node) -> Node {
        Node::And(Box::new(self), Box::new(other))
    }

    pub(super) fn or(self, other: Node) -> Node {
        Node::Or(Box::new(self), Box::new(other))
    }

    pub(super) fn negated(self) -> Node {
        Node::Not(Box::new(self))
    }
}

/// Frees without recursion what a long filter made: a chain of a thousand `or` is a thousand levels deep.
impl Drop for Node {
    fn drop(&mut self) {
        let mut waiting = Vec::new();
        let take = |node: &mut Node, waiting: &mut Vec<Box<Node>>| match node {
            Node::And(one, other) | Node::Or(one, other) => {
                waiting.push(std::mem::replace(one, leaf()));
                waiting.push(std::mem::replace(other, leaf()));
            }
            Node::Not(one) => waiting.push(std::mem::replace(one, leaf())),
            Node::Test(_) => {}
        };
        if matches!(self, Node::Test(_)) {
            return;
        }
        take(self, &mut waiting);
        while let Some(mut node) = waiting.pop() {
            take(&mut node, &mut waiting);
        }
    }
}

fn leaf() -> Box<Node> {
    let field = Field { base: Base::Frame, offset: 0, size: 1 };
    Box::new(Node::Test(Test::Field { field, mask: 0, is: Is::Equal, value: 0 }))
}

impl Program {
    /// Puts the questions of a filter in order.
    pub(super) fn new(node: &Node) -> Result<Program, FilterError> {
        // From behind, so that every target is known: steps lie in reverse until the end.
        let mut reversed: Vec<Step> = Vec::new();
        emit(node, ACCEPT, REJECT, &mut reversed)?;
        let last = reversed.len() - 1;
        let place = |target: Target| match target {
            ACCEPT | REJECT => target,
            _ => Target::try_from(last - usize::from(target)).expect("a program has fewer steps than targets"),
        };
        let steps = reversed.into_iter().rev().map(|Step { test, yes, no }| {
            let (yes, no) = (place(yes), place(no));
            Step { test, yes, no }
        });
        let program = Program(steps.collect());
        program.check()?;
        Ok(program)
    }

    /// Every step leads forwards, and no expression needs more than its stack.
    fn check(&self) -> Result<(), FilterError> {
        for (index, step) in self.0.iter().enumerate() {
            let forwards = |target: Target| {
                matches!(target, ACCEPT | REJECT) || (index + 1..self.0.len()).contains(&usize::from(target))
            };
            let fits = match &step.test {
                Test::Field { .. } => true,
                Test::Relation { left, right, .. } => depth(left) == Some(1) && depth(right) == Some(1),
            };
            if !forwards(step.yes) || !forwards(step.no) || !fits {
                return Err(FilterError::new(0, "the filter is too deep; write it with fewer brackets".to_owned()));
            }
        }
        Ok(())
    }

    /// Whether a frame matches; nothing when that cannot be said, for it ends before. Without steps, any does.
    #[inline]
    pub(super) fn run(&self, frame: &[u8]) -> Option<bool> {
        let mut at: Target = 0;
        while let Some(step) = self.0.get(usize::from(at)) {
            at = if step.test.ask(frame)? { step.yes } else { step.no };
        }
        Some(at != REJECT)
    }
}

/// Writes a node's steps, the last first; each part leads to what was written before it.
fn emit(node: &Node, yes: Target, no: Target, steps: &mut Vec<Step>) -> Result<Target, FilterError> {
    // The left arms of long chains are deep, the right ones are not.
    let mut waiting = vec![(node, yes, no)];
    let mut entry = REJECT;
    let mut pending: Vec<Pending<'_>> = Vec::new();
    loop {
        if let Some((node, yes, no)) = waiting.pop() {
            match node {
                Node::Not(inner) => waiting.push((inner, no, yes)),
                Node::And(first, second) => {
                    pending.push(Pending { first, yes: None, no: Some(no) });
                    waiting.push((second, yes, no));
                }
                Node::Or(first, second) => {
                    pending.push(Pending { first, yes: Some(yes), no: None });
                    waiting.push((second, yes, no));
                }
                Node::Test(test) => {
                    if steps.len() == MOST_STEPS {
                        return Err(FilterError::new(0, "the filter is too long; split it".to_owned()));
                    }
                    entry = Target::try_from(steps.len()).expect("bounded above");
                    steps.push(Step { test: test.clone(), yes, no });
                }
            }
            if !waiting.is_empty() {
                continue;
            }
        }
        let Some(Pending { first, yes, no }) = pending.pop() else { return Ok(entry) };
        waiting.push((first, yes.unwrap_or(entry), no.unwrap_or(entry)));
    }
}

/// The first half of a pair whose second half is being written; what it does not know is where that begins.
struct Pending<'n> {
    first: &'n Node,
    yes: Option<Target>,
    no: Option<Target>,
}

/// How many numbers an expression leaves, if it never takes from an empty stack or fills it.
fn depth(expression: &[Op]) -> Option<usize> {
    expression.iter().try_fold(0usize, |depth, op| {
        let depth = match op {
            Op::Number(_) | Op::Length => depth + 1,
            Op::Load(_) | Op::Negate => depth.checked_sub(1)? + 1,
            Op::Do(_) => depth.checked_sub(2)? + 1,
        };
        (depth <= STACK).then_some(depth)
    })
}

impl Test {
    /// Nothing when it looks behind the frame's end, or divides by zero.
    #[inline]
    fn ask(&self, frame: &[u8]) -> Option<bool> {
        let (left, is, right) = match self {
            Test::Field { field, mask, is, value } => (field.load(frame, 0)? & mask, *is, *value),
            Test::Relation { left, is, right } => (calculate(left, frame)?, *is, calculate(right, frame)?),
        };
        Some(match is {
            Is::Equal => left == right,
            Is::Above => left > right,
            Is::AtLeast => left >= right,
        })
    }
}

impl Field {
    #[inline]
    fn load(self, frame: &[u8], index: u32) -> Option<u32> {
        let base = match self.base {
            Base::Frame => 0,
            Base::BehindIpv4(start) => {
                start.checked_add(4 * u32::from(frame.get(usize::try_from(start).ok()?)? & 0xf))?
            }
        };
        let at = usize::try_from(base.checked_add(self.offset)?.checked_add(index)?).ok()?;
        let bytes = frame.get(at..at.checked_add(usize::from(self.size))?)?;
        Some(bytes.iter().fold(0, |value, byte| value << 8 | u32::from(*byte)))
    }
}

fn calculate(expression: &[Op], frame: &[u8]) -> Option<u32> {
    let mut stack = [0; STACK];
    let mut top = 0;
    for op in expression {
        match *op {
            Op::Number(value) => {
                stack[top] = value;
                top += 1;
            }
            Op::Length => {
                stack[top] = u32::try_from(frame.len()).unwrap_or(u32::MAX);
                top += 1;
            }
            Op::Load(field) => stack[top - 1] = field.load(frame, stack[top - 1])?,
            Op::Negate => stack[top - 1] = stack[top - 1].wrapping_neg(),
            Op::Do(operator) => {
                top -= 1;
                stack[top - 1] = operator.of(stack[top - 1], stack[top])?;
            }
        }
    }
    Some(stack[0])
}

impl Operator {
    /// Shifts of 32 bits and more leave nothing.
    pub(super) fn of(self, left: u32, right: u32) -> Option<u32> {
        Some(match self {
            Operator::Add => left.wrapping_add(right),
            Operator::Subtract => left.wrapping_sub(right),
            Operator::Multiply => left.wrapping_mul(right),
            Operator::Divide => left.checked_div(right)?,
            Operator::Remainder => left.checked_rem(right)?,
            Operator::And => left & right,
            Operator::Or => left | right,
            Operator::Xor => left ^ right,
            Operator::Left => left.checked_shl(right).unwrap_or(0),
            Operator::Right => left.checked_shr(right).unwrap_or(0),
        })
    }
}
