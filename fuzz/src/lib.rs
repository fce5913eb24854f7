//! What all targets share: what counts as a crash, and the runtime that decoders run in.
//!
//! Production runs decoders in tasks and reports one that panics as a corrupt file, so a panic in a
//! dependency is no finding: its place is printed once. A panic in the format crate itself is one, and
//! so is what no caller can turn into an error: memory that cannot be had, a stack without end, a loop
//! without end.

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::HashSet;
use std::sync::Mutex;

use berglake_format::{Result, fuzzing};
use tokio::runtime::{Builder, Runtime};

/// Parquet's own bound of a page is a signed number of 32 bits. What asks for more at once believes a
/// count that no file can hold.
const GREATEST_ALLOCATION: usize = (1 << 31) + (1 << 20);

struct Bounded;

#[global_allocator]
static ALLOCATOR: Bounded = Bounded;

// SAFETY: all is done by the system's allocator.
unsafe impl GlobalAlloc for Bounded {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        check(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        check(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        check(size);
        unsafe { System.realloc(at, layout, size) }
    }
}

fn check(size: usize) {
    if size > GREATEST_ALLOCATION {
        eprintln!("{size} bytes were asked for at once");
        let trace = std::backtrace::Backtrace::force_capture();
        eprintln!("{trace}");
        std::process::abort();
    }
}

/// To be called once, before the first input.
pub fn init() {
    static SEEN: Mutex<Option<HashSet<String>>> = Mutex::new(None);
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        if place.contains("crates/format/") || place.contains("crates/telemetry/") {
            default(info);
            std::process::abort();
        }
        let mut seen = SEEN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if seen.get_or_insert_default().insert(place.clone()) {
            let message = info.payload_as_str().unwrap_or("?");
            eprintln!("a dependency panics at {place}: {message}");
        }
    }));
}

/// Waits for a decoder, and aborts where its error is not that of a damaged file. A decoder that does
/// not run in a task of its own may not panic at all: libFuzzer takes that for a crash.
pub fn run(is_file: bool, decoder: impl Future<Output = Result<Vec<u64>>>) {
    thread_local! {
        static RUNTIME: Runtime = Builder::new_current_thread().enable_all().build().unwrap();
    }
    let outcome = RUNTIME.with(|runtime| runtime.block_on(decoder));
    if let Some(objection) = fuzzing::objection(&outcome, is_file) {
        eprintln!("no answer: {objection}");
        std::process::abort();
    }
}
