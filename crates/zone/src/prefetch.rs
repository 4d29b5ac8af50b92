//! Asks the processor for memory before it is read, so that the looks of a whole batch of questions wait together and
//! not one after the other. The only unsafe code of this crate.

#![expect(unsafe_code, reason = "prefetching has no safe form; the argument stands where it is used")]

/// Octets of a cache line on the processors that we know.
const LINE: usize = 64;

/// Asks for the cache line in which `place` begins. Changes nothing but speed; does nothing on processors without such
/// an instruction in stable Rust.
#[inline(always)]
pub(crate) fn prefetch<T>(place: &T) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: the instruction is part of SSE, which every x86-64 has. It reads nothing that the program can see, writes
    // nothing, and raises no fault for any address; this one is that of a live value besides.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(place).cast::<i8>());
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = place;
}

/// Asks for the first `lines` cache lines from octet `at` of `octets` on.
#[inline(always)]
pub(crate) fn prefetch_lines(octets: &[u8], at: usize, lines: usize) {
    for line in 0..lines {
        if let Some(octet) = octets.get(at + line * LINE) {
            prefetch(octet);
        }
    }
}
