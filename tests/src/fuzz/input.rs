//! Arbitrary bytes as a source of decisions.

/// Takes decisions from bytes, front to back; when they are used up, every decision is the first of its choices. So a
/// shorter input makes a simpler case, and every input makes one.
#[derive(Debug, Clone)]
pub struct Input<'d> {
    bytes: &'d [u8],
}

impl<'d> Input<'d> {
    /// Decisions out of `bytes`.
    #[must_use]
    pub const fn new(bytes: &'d [u8]) -> Self {
        Input { bytes }
    }

    /// Whether all bytes are used up.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The next bytes, fewer at the end.
    pub fn take(&mut self, count: usize) -> &'d [u8] {
        let (taken, rest) = self.bytes.split_at(count.min(self.bytes.len()));
        self.bytes = rest;
        taken
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'d [u8] {
        self.take(usize::MAX)
    }

    /// The next bytes, zeros at the end.
    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        let taken = self.take(N);
        array[..taken.len()].copy_from_slice(taken);
        array
    }

    /// Any byte.
    pub fn byte(&mut self) -> u8 {
        self.array::<1>()[0]
    }

    /// Any number of 16 bits.
    pub fn word(&mut self) -> u16 {
        u16::from_be_bytes(self.array())
    }

    /// Any number of 32 bits.
    pub fn long(&mut self) -> u32 {
        u32::from_be_bytes(self.array())
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        let drawn = if bound <= 256 { self.byte().into() } else { usize::from(self.word()) };
        drawn % bound.max(1)
    }

    /// True once in `cases`, and never at the end.
    pub fn one_in(&mut self, cases: usize) -> bool {
        self.below(cases) == cases - 1
    }

    /// One of them.
    ///
    /// # Panics
    /// When there is none.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}
