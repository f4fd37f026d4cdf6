//! Reasons: closed sets of named causes, each with a counter of its own.
//!
//! Everything that drops a frame says why with a variant of such a set ([`crate::DropReason`] is the switch's, the engines have
//! more exact ones). A set is written down once, by [`reasons!`](crate::reasons): variant, name and explanation side by side.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A set that [`reasons!`](crate::reasons) made.
pub trait Reason: Copy + 'static {
    /// Every reason, in the order of the counters.
    const REASONS: &'static [Self];

    /// Where the reason is in [`Reason::REASONS`].
    fn place(self) -> usize;
}

/// Makes an enum of reasons: `Variant = "name"`, each with its explanation. It gets `ALL`, `COUNT`, `index` (of its counter),
/// `name` (what the API and the command line show), `Display` and `Serialize` (both the name), and [`Reason`]. Two reasons of
/// one name do not compile.
#[macro_export]
macro_rules! reasons {
    ($(#[$meta:meta])* $vis:vis enum $Set:ident { $($(#[$doc:meta])* $Variant:ident = $name:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        $vis enum $Set {
            $($(#[$doc])* $Variant,)+
        }

        impl $Set {
            /// How many reasons there are.
            $vis const COUNT: usize = [$($name),+].len();

            /// Every reason, in the order of the counters.
            $vis const ALL: [$Set; $Set::COUNT] = [$($Set::$Variant),+];

            /// The counter's index.
            #[inline]
            #[must_use]
            $vis const fn index(self) -> usize {
                self as usize
            }

            /// The name that the API and the command line use.
            #[must_use]
            $vis const fn name(self) -> &'static str {
                match self {
                    $($Set::$Variant => $name,)+
                }
            }
        }

        const _: () = assert!($crate::reason::all_differ(&[$($name),+]), "two reasons have one name");

        impl $crate::reason::Reason for $Set {
            const REASONS: &'static [Self] = &$Set::ALL;

            #[inline]
            fn place(self) -> usize {
                self.index()
            }
        }

        impl ::std::fmt::Display for $Set {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str(self.name())
            }
        }

        impl ::serde::Serialize for $Set {
            fn serialize<S: ::serde::Serializer>(&self, serializer: S) -> ::std::result::Result<S::Ok, S::Error> {
                serializer.serialize_str(self.name())
            }
        }
    };
}

/// Whether no two of these are the same.
#[doc(hidden)]
#[must_use]
pub const fn all_differ(names: &[&str]) -> bool {
    let mut one = 0;
    while one < names.len() {
        let mut other = one + 1;
        while other < names.len() {
            if same(names[one].as_bytes(), names[other].as_bytes()) {
                return false;
            }
            other += 1;
        }
        one += 1;
    }
    true
}

const fn same(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() {
        return false;
    }
    let mut at = 0;
    while at < one.len() {
        if one[at] != other[at] {
            return false;
        }
        at += 1;
    }
    true
}

/// How often each of `N` reasons happened, counted by one thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tally<R, const N: usize> {
    counts: [u64; N],
    set: PhantomData<R>,
}

/// How often each of `N` reasons happened, counted by many threads.
#[derive(Debug)]
pub struct SharedTally<R, const N: usize> {
    counts: [AtomicU64; N],
    set: PhantomData<R>,
}

impl<R: Reason, const N: usize> Tally<R, N> {
    /// Counts some more.
    #[inline]
    pub fn add(&mut self, reason: R, times: u64) {
        self.counts[reason.place()] += times;
    }

    /// Adds what somebody else counted.
    pub fn add_all(&mut self, other: &Tally<R, N>) {
        self.counts.iter_mut().zip(other.counts).for_each(|(count, more)| *count += more);
    }

    /// How often this one happened.
    #[must_use]
    pub fn of(&self, reason: R) -> u64 {
        self.counts[reason.place()]
    }

    /// Reasons with their counts, those that happened.
    pub fn happened(&self) -> impl Iterator<Item = (R, u64)> + '_ {
        R::REASONS.iter().map(|&reason| (reason, self.of(reason))).filter(|(_, count)| *count > 0)
    }
}

impl<R: Reason, const N: usize> SharedTally<R, N> {
    /// Nothing happened yet.
    #[must_use]
    pub const fn new() -> Self {
        SharedTally { counts: [const { AtomicU64::new(0) }; N], set: PhantomData }
    }

    /// Counts some more.
    #[inline]
    pub fn add(&self, reason: R, times: u64) {
        self.counts[reason.place()].fetch_add(times, Relaxed);
    }

    /// How often this one happened.
    #[must_use]
    pub fn of(&self, reason: R) -> u64 {
        self.counts[reason.place()].load(Relaxed)
    }

    /// Reasons with their counts, those that happened.
    pub fn happened(&self) -> impl Iterator<Item = (R, u64)> + '_ {
        R::REASONS.iter().map(|&reason| (reason, self.of(reason))).filter(|(_, count)| *count > 0)
    }
}

impl<R, const N: usize> Default for Tally<R, N> {
    fn default() -> Self {
        Tally { counts: [0; N], set: PhantomData }
    }
}

impl<R: Reason, const N: usize> Default for SharedTally<R, N> {
    fn default() -> Self {
        SharedTally::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    reasons! {
        /// For the test.
        pub(super) enum Cause {
            /// One.
            First = "first",
            /// Another.
            Second = "second-one",
            /// And one more.
            Third = "third",
        }
    }

    /// A set lists every reason at its own index, by its name, which is also what it is shown as and serialised to.
    #[test]
    fn a_set_is_whole() {
        assert_eq!(Cause::COUNT, 3);
        for (index, reason) in Cause::ALL.iter().enumerate() {
            assert_eq!((reason.index(), reason.place()), (index, index));
            assert_eq!(reason.to_string(), reason.name());
        }
        assert_eq!(Cause::ALL.map(Cause::name), ["first", "second-one", "third"]);
    }

    /// Names that differ in length, at the start or at the end differ; equal ones are found wherever they are.
    #[test]
    fn names_differ() {
        assert!(all_differ(&[]) && all_differ(&["a", "ab", "ba", "b", "bb"]));
        assert!(!all_differ(&["a", "b", "a"]) && !all_differ(&["x", "ab", "ab"]));
    }

    /// Both tallies count each reason apart and list what happened.
    #[test]
    fn tallies_count() {
        let (mut one, many) =
            (Tally::<Cause, { Cause::COUNT }>::default(), SharedTally::<Cause, { Cause::COUNT }>::new());
        for (reason, times) in [(Cause::Third, 2), (Cause::First, 1), (Cause::Third, 3)] {
            one.add(reason, times);
            many.add(reason, times);
        }
        let expected = [(Cause::First, 1), (Cause::Third, 5)];
        assert_eq!((one.happened().collect::<Vec<_>>(), one.of(Cause::Second)), (expected.to_vec(), 0));
        assert_eq!((many.happened().collect::<Vec<_>>(), many.of(Cause::Third)), (expected.to_vec(), 5));
    }
}
