//! Which segments lie in the window. Read first: Guido van Rooij, "Real Stateful TCP Packet Filtering in IP Filter"
//! (2001), whose four bounds these are; RFC 7323 section 2 (window scale), RFC 2018 (SACK).

use super::Segment;

/// What is known of one side from its segments and from what the other side said.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Peer {
    /// The highest sequence number that it has sent, plus one.
    pub(super) end: u32,
    /// The highest that it may send: what the other side acknowledged and the window it gave.
    pub(super) max_end: u32,
    /// The largest window that it has offered.
    pub(super) max_window: u32,
    /// The highest acknowledgment that it has sent.
    pub(super) max_ack: Option<u32>,
    /// The shift of its window field.
    pub(super) scale: u8,
    /// It sent the window scale option.
    pub(super) has_scale: bool,
    /// It permits selective acknowledgments.
    pub(super) sack: bool,
    /// Its history is unknown (picked up mid-stream), so its segments are not judged.
    pub(super) liberal: bool,
    /// It has sent data that the other side has not acknowledged yet.
    pub(super) unacknowledged: bool,
    /// It sent the first FIN.
    pub(super) closed_first: bool,
}

/// How a segment lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Position {
    /// In the window.
    Inside,
    /// Not in it, but of a kind that the ends know: a late retransmission, an acknowledgment that was long under way, a
    /// little more than the window allows. It passes, and nothing is learnt from it.
    Beside,
    /// Outside.
    Outside,
}

/// The floor of the lower bound for acknowledgments: a sender may still act on acknowledgments this far back.
const ACK_WINDOW_FLOOR: u32 = 66_000;

const fn after(a: u32, b: u32) -> bool {
    before(b, a)
}

/// Whether `a` comes before `b` in sequence space (RFC 9293 section 3.4).
pub(super) const fn before(a: u32, b: u32) -> bool {
    a.wrapping_sub(b).cast_signed() < 0
}

impl Peer {
    /// What a SYN or SYN-ACK says of its sender.
    pub(super) fn opened(segment: &Segment) -> Peer {
        let end = segment.end();
        Peer {
            end,
            max_end: end,
            max_window: u32::from(segment.window).max(1),
            max_ack: None,
            scale: segment.window_scale.unwrap_or(0).min(MAX_SCALE),
            has_scale: segment.window_scale.is_some(),
            sack: segment.sack_permitted,
            liberal: false,
            unacknowledged: false,
            closed_first: false,
        }
    }

    /// What a segment from the middle of an unknown connection says of its sender: very little.
    pub(super) fn picked_up(segment: &Segment) -> Peer {
        let end = segment.end();
        let max_window = u32::from(segment.window).max(1);
        Peer { end, max_window, max_end: end.wrapping_add(max_window), sack: true, liberal: true, ..Peer::default() }
    }
}

/// Window scaling holds only when both sides offered it (RFC 7323 section 2.2); to be called on a SYN-ACK.
pub(super) fn agree_on_scale(a: &mut Peer, b: &mut Peer) {
    if !(a.has_scale && b.has_scale) {
        a.scale = 0;
        b.scale = 0;
    }
}

/// Fills in what a segment tells of sides that have been silent so far.
pub(super) fn learn(sender: &mut Peer, receiver: &mut Peer, segment: &Segment) {
    if sender.max_window != 0 {
        return;
    }
    let window = u32::from(segment.window) << sender.scale;
    sender.end = segment.end();
    sender.max_window = window.max(1);
    sender.max_end = sender.end.wrapping_add(sender.max_window);
    let sack = segment.right_edge(receiver.sack);
    if receiver.max_window == 0 {
        receiver.end = sack;
        receiver.max_end = sack;
    } else if sack == receiver.end.wrapping_add(1) {
        // A reply to a keep-alive that we have not seen.
        receiver.end = sack;
    }
}

/// Judges a segment by the four bounds and, when it lies inside, notes what it says. `quiet_reset` says
/// that this is a reset that answers a SYN with sequence number zero.
pub(super) fn judge(sender: &mut Peer, receiver: &mut Peer, segment: &Segment, quiet_reset: bool) -> Position {
    let (mut sequence, mut end) = (segment.sequence, segment.end());
    let (mut ack, mut sack) = (segment.acknowledgment, segment.right_edge(receiver.sack));
    if !segment.is_ack() || (segment.is_rst() && ack == 0) {
        // Without an acknowledgment (or with the zero that some stacks put in a RST): as if it were a right one.
        (ack, sack) = (receiver.end, receiver.end);
    }
    if quiet_reset {
        (sequence, end) = (sender.end, sender.end);
    }
    let ack_window = sender.max_window.max(ACK_WINDOW_FLOOR);
    let lower = sender.end.wrapping_sub(receiver.max_window).wrapping_sub(1);
    let recent = receiver.max_window == 0 || after(end, lower);
    let acknowledges_sent = before(sack, receiver.end.wrapping_add(1));
    let acknowledges_lately = after(sack, receiver.end.wrapping_sub(ack_window).wrapping_sub(1));
    if !before(sequence, sender.max_end.wrapping_add(1)) {
        let overshot = end.wrapping_sub(sender.max_end).wrapping_add(1);
        let by_little = receiver.max_window != 0 && recent && overshot <= receiver.max_window;
        if !(by_little && acknowledges_sent && acknowledges_lately) {
            return Position::Outside;
        }
        // Should the receiver take it after all, its acknowledgments must not be out of the window from then on.
        sender.end = end;
        sender.unacknowledged = true;
        return Position::Beside;
    }
    if !acknowledges_sent {
        return Position::Outside;
    }
    if !(recent && acknowledges_lately) {
        return Position::Beside;
    }
    let scale = if segment.is_syn() { 0 } else { sender.scale };
    let window = u32::from(segment.window) << scale;
    sender.max_window = sender.max_window.max(window.wrapping_add(sack.wrapping_sub(ack)));
    if after(end, sender.end) {
        sender.end = end;
        sender.unacknowledged = true;
    }
    if segment.is_ack() && sender.max_ack.is_none_or(|highest| after(ack, highest)) {
        sender.max_ack = Some(ack);
    }
    if receiver.max_window != 0 && after(end, sender.max_end) {
        receiver.max_window = receiver.max_window.wrapping_add(end.wrapping_sub(sender.max_end));
    }
    let granted = sack.wrapping_add(window);
    if after(granted, receiver.max_end.wrapping_sub(1)) {
        // A zero window still lets a probe of one byte through.
        receiver.max_end = if window == 0 { granted.wrapping_add(1) } else { granted };
    }
    if ack == receiver.end {
        receiver.unacknowledged = false;
    }
    Position::Inside
}

/// RFC 7323 section 2.3: a larger shift counts as 14.
const MAX_SCALE: u8 = 14;
