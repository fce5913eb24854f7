//! Data files that are missing or damaged.

use super::*;
use crate::storage::Location;

#[tokio::test]
async fn missing_truncated_and_corrupt_files_are_errors_with_their_path() {
    let (fixture, file) = counted(FormatVersion::V2, 20).await;
    let path = file.file_path();
    let location = Location::parse(path).unwrap();
    let bytes = fixture.storage.read(&location).await.unwrap();

    let check = async |kind| {
        let error = read_all(&fixture).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(path), "{error}");
    };
    fixture.storage.delete(&location).await.unwrap();
    check(ErrorKind::NotFound).await;
    let cut = bytes.slice(..bytes.len() / 2);
    fixture.storage.write(&location, cut).await.unwrap();
    check(ErrorKind::Corrupt).await;
    let garbage = vec![0xFFu8; bytes.len()];
    fixture
        .storage
        .write(&location, garbage.into())
        .await
        .unwrap();
    check(ErrorKind::Corrupt).await;
    // The footer is whole and what it points to is not.
    let mut damaged = bytes.to_vec();
    damaged[4..60].fill(0xAB);
    fixture
        .storage
        .write(&location, damaged.into())
        .await
        .unwrap();
    check(ErrorKind::Corrupt).await;
}

#[tokio::test]
async fn every_damaged_byte_is_an_error_or_harmless_and_never_a_panic_of_the_caller() {
    let (fixture, file) = counted(FormatVersion::V2, 5).await;
    let location = Location::parse(file.file_path()).unwrap();
    let bytes = fixture.storage.read(&location).await.unwrap();
    for at in (0..bytes.len()).step_by(7) {
        let mut damaged = bytes.to_vec();
        damaged[at] ^= 0x55;
        fixture
            .storage
            .write(&location, damaged.into())
            .await
            .unwrap();
        if let Err(error) = read_all(&fixture).await {
            assert!(
                error.to_string().contains(file.file_path()),
                "{at}: {error}"
            );
        }
    }
}
