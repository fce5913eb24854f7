#![no_main]

use berglake_format::fuzzing;
use libfuzzer_sys::fuzz_target;

// A fuzzer finds no checksum, so it is also put around what it found.
fuzz_target!(init: berglake_fuzz::init(), |bytes: &[u8]| {
    for blob in [bytes, &fuzzing::sealed(bytes)] {
        let cardinality = fuzzing::vector_cardinality(blob);
        berglake_fuzz::run(true, fuzzing::deletion_vector(blob, cardinality));
    }
});
