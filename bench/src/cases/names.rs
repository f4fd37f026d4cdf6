//! One question for a container's name.

use std::hint::black_box;
use std::sync::Arc;

use rand::SeedableRng;
use rand::rngs::StdRng;
use vswitch_ctl::dns::{Member, Scope, Upstreams, View, Zone};

use super::{Cases, Step};

pub(super) const CASES: Cases = &[("names/local", local)];

/// `web`, type A, class IN, recursion desired.
const QUESTION: &[u8] = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03web\x00\x00\x01\x00\x01";

fn local() -> Step {
    let zone = Zone::cell();
    let member = Member { names: vec!["web"], addresses: vec![[10, 0, 0, 2].into()] };
    let subnet = "10.0.0.0/16".parse().expect("a subnet");
    zone.store(Arc::new(Zone::new("net", [subnet].into_iter(), [member].into_iter())));
    let scope = Scope {
        networks: vec![View { name: "net".into(), zone, links: Vec::new() }],
        upstreams: Upstreams::default(),
        fixed: Default::default(),
        domain: None,
    };
    let mut rng = StdRng::seed_from_u64(7);
    Box::new(move || {
        let reply = scope.reply(black_box(QUESTION), &mut rng).expect("a name of the network");
        assert!(black_box(reply).ends_with(&[10, 0, 0, 2]));
    })
}
