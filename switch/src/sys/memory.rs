//! The C library's allocator, which Rust's memory comes from. Read first: mallopt(3), malloc_trim(3). Other allocators have no
//! such habits, and there is nothing to do.

/// Lets large blocks always have mappings of their own, so that the kernel gives memory when it is touched, and has it back when
/// they are freed.
///
/// By itself glibc raises the size from which it does so with the first large block that is freed. From then on a ring of 512
/// KiB would come from the heap, be cleared by hand, which touches all of it, and stay there.
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
