#![no_main]

use berglake_format::fuzzing;
use iceberg::spec::FormatVersion;
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: berglake_fuzz::init(), |bytes: &[u8]| {
    for version in [FormatVersion::V1, FormatVersion::V2, FormatVersion::V3] {
        berglake_fuzz::run(true, fuzzing::manifest_list(version, bytes));
    }
});
