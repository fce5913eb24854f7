#![no_main]

use berglake_format::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: berglake_fuzz::init(), |bytes: &[u8]| {
    berglake_fuzz::run(true, async {
        let rows = fuzzing::claimed_rows(bytes).await.unwrap_or_default();
        fuzzing::page_index(bytes, rows).await
    });
});
