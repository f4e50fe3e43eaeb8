//! Which version answers an image: pure, by the catalog's record and by what workers have loaded.

use shoal_shared::catalog::{CatalogRecord, Lot};
use shoal_shared::digest::{ImageKey, ModelDigest};
use shoal_shared::names::{ModelName, Version};

/// A model that can be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The name of its queue and its workers.
    pub served: ModelName,
    /// The model as clients name it.
    pub model: ModelName,
    /// Its version, when it was pushed with one.
    pub version: Option<Version>,
    /// What it computes.
    pub digest: ModelDigest,
}

/// Who answers, who stands in, and who is asked beside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// Answers.
    pub first: Candidate,
    /// Answers when that fails by its own fault.
    pub fallback: Option<Candidate>,
    /// Is asked too, and only compared.
    pub shadow: Option<Candidate>,
    /// Whether the first one is a canary: it may cost the client nothing, not even a refusal.
    pub on_trial: bool,
}

impl Choice {
    /// No other will do.
    pub fn only(first: Candidate) -> Self {
        Self { first, fallback: None, shadow: None, on_trial: false }
    }
}

/// What the choice depends on beside the record.
pub struct Circumstances<'a> {
    /// The model.
    pub model: &'a ModelName,
    /// Whether a worker has a model loaded, by the name it is served under.
    pub is_ready: &'a dyn Fn(&ModelName) -> bool,
    /// The same model as it was served before any version was pushed, while workers still have it.
    pub unversioned: Option<ModelDigest>,
    /// Whether the live version is so new that the one before is kept at hand.
    pub is_fresh: bool,
}

/// The version that answers those who name none: the live one, and until a worker has it, the one before.
pub fn standing(record: &CatalogRecord, of: &Circumstances<'_>) -> Option<Candidate> {
    let live = candidate(record, of.model, record.live.as_ref()?)?;
    if (of.is_ready)(&live.served) {
        return Some(live);
    }
    let previous = record.previous.as_ref().and_then(|version| candidate(record, of.model, version));
    let unversioned = of.unversioned.clone().map(|digest| Candidate {
        served: of.model.clone(),
        model: of.model.clone(),
        version: None,
        digest,
    });
    let stands_in = [previous, unversioned].into_iter().flatten().find(|one| (of.is_ready)(&one.served));
    Some(stands_in.unwrap_or(live))
}

/// Who answers this image.
pub fn choose(record: &CatalogRecord, of: &Circumstances<'_>, image: &ImageKey) -> Option<Choice> {
    let standing = standing(record, of)?;
    let ready = |version: &Version| {
        let candidate = candidate(record, of.model, version)?;
        ((of.is_ready)(&candidate.served) && candidate != standing).then_some(candidate)
    };
    let of_share = |share: &Option<shoal_shared::catalog::Share>, lot| {
        let share = share.as_ref().filter(|share| share.has(image, lot))?;
        ready(&share.version)
    };
    let shadow = of_share(&record.shadow, Lot::Shadow);
    if let Some(canary) = of_share(&record.canary, Lot::Canary) {
        return Some(Choice { first: canary, fallback: Some(standing), shadow, on_trial: true });
    }
    let fallback = record.previous.as_ref().filter(|_| of.is_fresh).and_then(ready);
    Some(Choice { first: standing, fallback, shadow, on_trial: false })
}

/// One version of a model.
pub fn candidate(record: &CatalogRecord, model: &ModelName, version: &Version) -> Option<Candidate> {
    let digest = record.versions.get(version)?.digest.clone();
    Some(Candidate {
        served: model.served(version).ok()?,
        model: model.clone(),
        version: Some(version.clone()),
        digest,
    })
}

#[cfg(test)]
mod tests {
    use shoal_shared::catalog::{Pushed, Share};
    use shoal_shared::digest::DigestKind;

    use super::*;

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    fn record(versions: usize) -> CatalogRecord {
        let mut record = CatalogRecord::default();
        for _ in 0..versions {
            record.push(None, Pushed { digest: ModelDigest::default(), bytes: 1, at: 0 }).unwrap();
        }
        record
    }

    fn choose_with(record: &CatalogRecord, ready: &[&str], is_fresh: bool) -> Choice {
        let is_ready = |name: &ModelName| ready.contains(&name.as_str());
        let unversioned = ready.contains(&"m").then(ModelDigest::default);
        let model = "m".parse().unwrap();
        let of = Circumstances { model: &model, is_ready: &is_ready, unversioned, is_fresh };
        choose(record, &of, &ImageKey::of(DigestKind::Sha256, b"image")).unwrap()
    }

    #[test]
    fn until_the_live_version_is_loaded_the_one_before_answers() {
        let mut record = record(2);
        assert_eq!(choose_with(&record, &["m"], true).first.version, None, "as it was before any push");
        record.promote(&version("2"), 1).unwrap();
        assert_eq!(choose_with(&record, &["m_v1"], true).first.version, Some(version("1")));
        let both = choose_with(&record, &["m_v1", "m_v2"], true);
        assert_eq!(both.first.version, Some(version("2")));
        assert_eq!(both.fallback.unwrap().version, Some(version("1")));
        assert_eq!(choose_with(&record, &["m_v1", "m_v2"], false).fallback, None);
        // Nobody has any: the live one is asked for.
        assert_eq!(choose_with(&record, &[], true).first.version, Some(version("2")));
    }

    #[test]
    fn a_canary_answers_its_part_once_it_is_loaded_and_the_live_version_stands_behind_it() {
        let mut record = record(3);
        record.set_canary(Some(Share { version: version("2"), percent: 100 }), 1).unwrap();
        record.set_shadow(Some(Share { version: version("3"), percent: 100 }), 1).unwrap();
        let without = choose_with(&record, &["m_v1"], false);
        assert_eq!((without.first.version, without.fallback, without.shadow), (Some(version("1")), None, None));
        let with = choose_with(&record, &["m_v1", "m_v2", "m_v3"], false);
        assert_eq!(with.first.served.as_str(), "m_v2");
        assert_eq!(with.fallback.unwrap().served.as_str(), "m_v1");
        assert_eq!(with.shadow.unwrap().served.as_str(), "m_v3");
    }
}
