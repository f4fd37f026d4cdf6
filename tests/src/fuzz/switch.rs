//! The whole data path, and the promise that networks make.

use super::input::Input;
use super::world::{Tally, World};

/// Everything that endpoints of different networks may send, in any order: nobody hears what is not for them.
pub(super) fn switch(bytes: &[u8]) {
    let _ = isolation(bytes);
}

/// The same; says what was delivered.
#[must_use]
pub fn isolation(bytes: &[u8]) -> Tally {
    let mut input = Input::new(bytes);
    let mut world = World::new(u64::from(input.byte()));
    world.run(&mut input, 48);
    world.tally
}
