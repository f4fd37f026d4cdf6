//! Where Rust's memory comes from: rings from mappings of their own, all else from the C library's allocator. Read first: mmap(2),
//! madvise(2); mallopt(3), malloc_trim(3).

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr::null_mut;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use vswitch_nat::proxy::stream::{RING, SMALL_RING};

/// The allocator of a program that has very many connections: blocks of exactly a ring's size lie apart from the heap, so that
/// the kernel gives their pages when they are touched and has them back when they are freed.
///
/// glibc promises neither. Whatever the size from which blocks have mappings of their own, it takes them from the heap as long
/// as something there is free and large enough, and clears them by hand, which touches all of a ring. What it then lacks for small
/// blocks it adds to the heap, which so grows each time that connections come and go.
#[derive(Debug)]
pub struct RingsApart {
    small: Pool,
    large: Pool,
}

impl RingsApart {
    /// Nothing is reserved before it is needed.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "a static needs a const function")]
    pub const fn new() -> Self {
        RingsApart { small: Pool::new(SMALL_RING, POOL / SMALL_RING), large: Pool::new(RING, POOL / RING) }
    }

    fn pool(&self, layout: Layout) -> Option<&Pool> {
        let pool = match layout.size() {
            SMALL_RING => &self.small,
            RING => &self.large,
            _ => return None,
        };
        (layout.align() <= PAGE).then_some(pool)
    }

    fn take(&self, layout: Layout) -> Option<*mut u8> {
        self.pool(layout)?.take()
    }
}

// SAFETY: a block of a pool is as long as its layout says, aligned to a page, and nobody else's until it is given back; which
// blocks are a pool's is known by their addresses. All others are the system's, which keeps the contract.
unsafe impl GlobalAlloc for RingsApart {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller of this function promises.
        self.take(layout).unwrap_or_else(|| unsafe { System.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller of this function promises. A pool's blocks are zero.
        self.take(layout).unwrap_or_else(|| unsafe { System.alloc_zeroed(layout) })
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        match self.pool(layout).filter(|pool| pool.has(block)) {
            Some(pool) => pool.give_back(block),
            // SAFETY: as the caller of this function promises; it is no pool's, so it is the system's.
            None => unsafe { System.dealloc(block, layout) },
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let Some(pool) = self.pool(layout).filter(|pool| pool.has(block)) else {
            // SAFETY: as the caller of this function promises; it is no pool's, so it is the system's.
            return unsafe { System.realloc(block, layout, size) };
        };
        // SAFETY: the caller promises that the size is valid with this alignment, and that the old block is as long as its layout
        // says. The new one is another block, and as long as what is copied at least.
        unsafe {
            let new = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
            if !new.is_null() {
                block.copy_to_nonoverlapping(new, size.min(layout.size()));
                pool.give_back(block);
            }
            new
        }
    }
}

/// Blocks of one size, in one mapping, which stays: however many there are, they take one of the mappings that a process may have
/// (`vm.max_map_count`). Where there is no more room, or the kernel gives no address space, there are none.
#[derive(Debug)]
struct Pool {
    size: usize,
    blocks: usize,
    /// Where the mapping begins; 0: there is none yet. The blocks, then the numbers of those that were given back.
    start: AtomicUsize,
    state: Mutex<Used>,
}

#[derive(Debug)]
struct Used {
    /// Blocks that were ever taken.
    fresh: usize,
    /// Blocks that were given back.
    free: usize,
}

impl Pool {
    const fn new(size: usize, blocks: usize) -> Self {
        Pool { size, blocks, start: AtomicUsize::new(0), state: Mutex::new(Used { fresh: 0, free: 0 }) }
    }

    /// A block of zeros.
    fn take(&self) -> Option<*mut u8> {
        let mut used = self.state.lock().ok()?;
        let start = match self.start.load(Ordering::Relaxed) {
            0 => self.reserve()?,
            start => start as *mut u8,
        };
        let number = if used.free > 0 {
            used.free -= 1;
            // SAFETY: the list has room for each block's number and is touched under the lock alone; what is before `free` was
            // written.
            unsafe { self.list(start).add(used.free).read() as usize }
        } else if used.fresh < self.blocks {
            used.fresh += 1;
            used.fresh - 1
        } else {
            return None;
        };
        // SAFETY: the mapping holds as many blocks.
        Some(unsafe { start.add(number * self.size) })
    }

    fn has(&self, block: *mut u8) -> bool {
        let start = self.start.load(Ordering::Relaxed);
        start != 0 && (block as usize).wrapping_sub(start) < self.blocks * self.size
    }

    /// Takes back a block that was taken here. Its pages are the kernel's at once, and are zero when it is taken again.
    fn give_back(&self, block: *mut u8) {
        // SAFETY: the block lies in the mapping, which is private and anonymous, and its owner has done with it.
        if unsafe { libc::madvise(block.cast(), self.size, libc::MADV_DONTNEED) } != 0 {
            return;
        }
        let Ok(mut used) = self.state.lock() else { return };
        let start = self.start.load(Ordering::Relaxed) as *mut u8;
        let number = (block as usize - start as usize) / self.size;
        // SAFETY: as in `take`; no more blocks are given back than there are.
        unsafe { self.list(start).add(used.free).write(u32::try_from(number).unwrap_or(0)) };
        used.free += 1;
    }

    /// # Safety
    /// `start` is that of the mapping.
    const unsafe fn list(&self, start: *mut u8) -> *mut u32 {
        // SAFETY: the list follows the blocks, which are whole pages.
        unsafe { start.add(self.blocks * self.size).cast() }
    }

    /// Asks for addresses, not for memory. Huge pages would make a byte in each of many rings cost two megabytes.
    fn reserve(&self) -> Option<*mut u8> {
        let length = self.blocks * (self.size + size_of::<u32>());
        let (access, kind) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE);
        // SAFETY: a new mapping, placed by the kernel, touches nothing that is there.
        let start = unsafe { libc::mmap(null_mut(), length, access, kind, -1, 0) };
        if start == libc::MAP_FAILED {
            return None;
        }
        // SAFETY: advice about the mapping just made; kernels without huge pages refuse it, and need none.
        unsafe { libc::madvise(start, length, libc::MADV_NOHUGEPAGE) };
        self.start.store(start as usize, Ordering::Relaxed);
        Some(start.cast())
    }
}

/// Lets other large blocks always have mappings of their own where the heap has no room for them. By itself glibc raises the size
/// from which it does so with the first large block that is freed.
pub fn keep_large_blocks_apart() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    for (what, bytes) in [(libc::M_MMAP_THRESHOLD, LARGE), (libc::M_TRIM_THRESHOLD, SPARE)] {
        // SAFETY: mallopt takes two integers and touches nothing but the allocator's own settings, under its lock.
        if unsafe { libc::mallopt(what, bytes) } != 1 {
            tracing::warn!(
                "the memory allocator does not let itself be set; idle connections may hold more than they need"
            );
        }
    }
}

/// Gives the kernel back what the heap does not use. Takes milliseconds where there is much: not for a thread that frames wait
/// for.
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: malloc_trim takes an integer and releases pages in which there is no live block, under the allocator's locks.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Blocks from this size on have their own mappings: what glibc begins with.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const LARGE: libc::c_int = 128 << 10;
/// What may be free at the end of a heap before it is given back: what glibc would come to by itself.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const SPARE: libc::c_int = 1 << 20;
/// Addresses for the rings of a size: those of as many connections, or as many bytes, as there may be by default.
const POOL: usize = 1 << 30;
/// What mappings are aligned to at least.
const PAGE: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    /// Blocks are one beside the other, zero however often they are taken, and end where the pool does; those of the heap are
    /// told from them.
    #[test]
    fn blocks_are_zero_again() {
        let pool = Pool::new(2 * PAGE, 3);
        let fill = |block: *mut u8| {
            // SAFETY: the block is as long and this test's.
            let block = unsafe { std::slice::from_raw_parts_mut(block, 2 * PAGE) };
            assert!(block.iter().all(|&byte| byte == 0));
            block.fill(1);
        };
        for _ in 0..3 {
            let mut blocks: Vec<_> = std::iter::from_fn(|| pool.take()).inspect(|&block| fill(block)).collect();
            blocks.sort_unstable();
            assert_eq!(
                blocks.iter().map(|&block| block as usize - blocks[0] as usize).collect::<Vec<_>>(),
                [0, 8192, 16384]
            );
            assert!(blocks.iter().all(|&block| pool.has(block)));
            blocks.into_iter().for_each(|block| pool.give_back(block));
        }
        assert!(!pool.has((&raw mut *Box::new(0_u8)).cast()));
    }

    /// Rings, what they grow to and what grows to be like them, keep their bytes and are freed where they came from.
    #[test]
    fn sizes_change() {
        let allocator = RingsApart::new();
        let layout = |size| Layout::from_size_align(size, 1).unwrap();
        let sizes = [100, SMALL_RING, 5, RING, SMALL_RING, RING + 1, RING];
        // SAFETY: each block is used with the layout that it has then.
        unsafe {
            let mut block = allocator.alloc_zeroed(layout(sizes[0]));
            block.write(7);
            for pair in sizes.windows(2) {
                block = allocator.realloc(block, layout(pair[0]), pair[1]);
                assert_eq!(block.read(), 7);
            }
            allocator.dealloc(block, layout(RING));
            let ring = allocator.alloc_zeroed(layout(RING));
            assert!(allocator.large.has(ring));
            assert_eq!(ring.read(), 0);
            allocator.dealloc(ring, layout(RING));
        }
    }
}
