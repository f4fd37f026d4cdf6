//! VXLAN, the pure part: what is on the wire between two tunnel endpoints.
//!
//! Today this is the header alone ([`header`]): its checked view, its writing, the overhead that it costs an inner MTU,
//! and the choice of the outer source port. The engine that encapsulates, decapsulates and learns remotes comes with
//! overlay networks; nothing here pretends to be it.
//!
//! Read first: RFC 7348, sections 4 and 5.

pub mod header;
