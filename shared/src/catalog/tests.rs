use super::*;
use crate::digest::{DigestKind, ImageKey};
use crate::manifest::Manifest;

fn version(text: &str) -> Version {
    text.parse().unwrap()
}

fn pushed(content: &str) -> Pushed {
    let manifest = Manifest::parse("name = \"m\"\nfile = \"m.onnx\"\n").unwrap();
    Pushed { digest: ModelDigest::of(content.as_bytes(), &manifest, &[]), bytes: 1, at: 5 }
}

fn share(of: &str, percent: u8) -> Option<Share> {
    Some(Share { version: version(of), percent })
}

fn three() -> CatalogRecord {
    let mut record = CatalogRecord::default();
    for content in ["a", "b", "c"] {
        record.push(None, pushed(content)).unwrap();
    }
    record
}

#[test]
fn the_first_version_answers_and_numbers_go_up() {
    let record = three();
    assert_eq!(record.live, Some(version("1")));
    assert_eq!(record.versions.keys().map(Version::as_str).collect::<Vec<_>>(), ["1", "2", "3"]);
    let mut record = record;
    assert_eq!(record.push(Some(version("10")), pushed("d")), Ok(version("10")));
    assert_eq!(record.push(None, pushed("e")), Ok(version("11")));
}

#[test]
fn a_version_never_changes() {
    let mut record = three();
    assert_eq!(record.push(Some(version("2")), pushed("b")), Ok(version("2")));
    assert!(matches!(record.push(Some(version("2")), pushed("x")), Err(CatalogError::Immutable { .. })));
}

#[test]
fn a_rollback_goes_back_once() {
    let mut record = three();
    record.promote(&version("2"), 10).unwrap();
    assert_eq!((record.live.clone(), record.previous.clone()), (Some(version("2")), Some(version("1"))));
    record.roll_back("3 of 10 answers were errors", 20).unwrap();
    assert_eq!((record.live.clone(), record.previous.clone()), (Some(version("1")), None));
    assert_eq!(record.roll_back("again", 30), Err(CatalogError::NothingBefore));
    assert_eq!(record.log.last().unwrap().why, "3 of 10 answers were errors");
}

#[test]
fn what_fails_is_withdrawn_as_its_role_allows() {
    let mut record = three();
    record.set_canary(share("2", 10), 1).unwrap();
    assert!(record.withdraw(&version("2"), "errors", 2));
    assert!(record.canary.is_none() && record.live == Some(version("1")));
    assert!(!record.withdraw(&version("2"), "errors", 3), "somebody was faster");
    assert!(!record.withdraw(&version("1"), "errors", 3), "there is nothing before");
    record.promote(&version("3"), 4).unwrap();
    assert!(record.withdraw(&version("3"), "errors", 5));
    assert_eq!(record.live, Some(version("1")));
}

#[test]
fn what_is_in_use_stays_and_what_becomes_live_is_nothing_else() {
    let mut record = three();
    record.set_canary(share("2", 10), 1).unwrap();
    record.set_shadow(share("3", 50), 1).unwrap();
    for used in ["1", "2", "3"] {
        assert!(matches!(record.remove(&version(used), 2), Err(CatalogError::InUse { .. })));
    }
    assert_eq!(record.in_use().len(), 3);
    record.promote(&version("2"), 3).unwrap();
    assert!(record.canary.is_none());
    record.remove(&version("1"), 4).unwrap();
    assert!(record.previous.is_none());
    assert_eq!(record.set_canary(share("2", 1), 5), Err(CatalogError::IsLive(version("2"))));
    assert_eq!(record.set_canary(share("3", 0), 5), Err(CatalogError::Percent(0)));
    assert!(record.set_canary(share("9", 1), 5).unwrap_err().to_string().contains("there are: 2, 3"));
}

#[test]
fn shares_are_as_large_as_said_and_draw_apart() {
    let images: Vec<ImageKey> =
        (0..4000u32).map(|number| ImageKey::of(DigestKind::Sha256, &number.to_le_bytes())).collect();
    let tenth = share("1", 10).unwrap();
    let count = |lot| images.iter().filter(|image| tenth.has(image, lot)).count();
    let both = images.iter().filter(|image| tenth.has(image, Lot::Canary) && tenth.has(image, Lot::Shadow)).count();
    // Four standard deviations of a binomial distribution: 19 each.
    assert!((324..=476).contains(&count(Lot::Canary)) && (324..=476).contains(&count(Lot::Shadow)));
    assert!(both < 80, "{both}");
    assert!(images.iter().all(|image| share("1", 100).unwrap().has(image, Lot::Canary)));
}

#[test]
fn the_log_is_bounded() {
    let mut record = three();
    (0..100).for_each(|at| record.set_canary(None, at).unwrap());
    assert_eq!((record.log.len(), record.log.last().unwrap().at), (MAX_LOG, 99));
}
