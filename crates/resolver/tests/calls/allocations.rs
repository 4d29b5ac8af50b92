//! A kept result costs no allocation: counted by the allocator of this test binary.

#![allow(unsafe_code, reason = "an allocator that counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use super::*;

struct Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[tokio::test]
async fn a_kept_result_allocates_nothing() {
    let server = Server::start(zone(NODE)).await;
    let resolver = resolver(&server);
    resolver.set_members(Members::new([Member {
        domain: name("other.test"),
        targets: vec![],
        keys: vec![],
        sources: vec![],
        state: MemberState::Active,
        signed_by: None,
    }]));
    for text in ["sip:alice@d.test", "sips:alice@d.test", "sip:alice@d.test;transport=tcp;lr"] {
        let uri = uri(text);
        assert!(resolver.locate(&uri).await.is_found());
        let before = COUNT.get();
        for _ in 0..100 {
            drop(resolver.locate(&uri).await);
        }
        assert_eq!(COUNT.get() - before, 0, "{text}");
    }
}
