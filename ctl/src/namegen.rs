//! Names for containers whose user gave none: an adjective and a noun, as Docker does it.

use rand::Rng;
use rand::seq::IndexedRandom;

/// `brisk_heron`; after a few collisions with `taken` names, `brisk_heron_4711`.
pub fn generate(rng: &mut impl Rng, taken: impl Fn(&str) -> bool) -> String {
    for _ in 0..8 {
        let name = pair(rng);
        if !taken(&name) {
            return name;
        }
    }
    loop {
        let name = format!("{}_{}", pair(rng), rng.random_range(0..1_000_000u32));
        if !taken(&name) {
            return name;
        }
    }
}

fn pair(rng: &mut impl Rng) -> String {
    let adjective = ADJECTIVES.choose(rng).expect("the list is not empty");
    let noun = NOUNS.choose(rng).expect("the list is not empty");
    format!("{adjective}_{noun}")
}

const ADJECTIVES: [&str; 48] = [
    "agile", "amber", "ample", "balmy", "bold", "brave", "bright", "brisk", "calm", "candid", "clear", "clever",
    "cosy", "crisp", "deft", "eager", "early", "fair", "fleet", "fond", "frank", "fresh", "gentle", "glad", "golden",
    "hardy", "jolly", "keen", "kind", "lively", "lucid", "merry", "mild", "neat", "nimble", "patient", "plucky",
    "polite", "proud", "quick", "quiet", "ready", "serene", "steady", "sunny", "swift", "tidy", "witty",
];

const NOUNS: [&str; 48] = [
    "alder", "aspen", "badger", "beacon", "birch", "bridge", "brook", "cedar", "comet", "condor", "coral", "crane",
    "delta", "dune", "falcon", "fern", "fjord", "garnet", "glacier", "harbour", "heron", "ibis", "island", "juniper",
    "kestrel", "lagoon", "lark", "lotus", "lynx", "maple", "meadow", "otter", "pebble", "pine", "plover", "quartz",
    "raven", "reef", "river", "robin", "sable", "sparrow", "summit", "thistle", "tundra", "walnut", "willow", "wren",
];

#[cfg(test)]
mod tests {
    use super::*;

    /// A name is a valid container name, and one is found even when all pairs are taken.
    #[test]
    fn names_are_found_when_pairs_run_out() {
        let name = generate(&mut rand::rng(), |_| false);
        assert!(crate::model::container_name(&name).is_ok(), "{name}");
        let name = generate(&mut rand::rng(), |name| name.matches('_').count() < 2);
        assert_eq!(name.matches('_').count(), 2);
    }
}
