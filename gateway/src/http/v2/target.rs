//! What a path below `/v2/` means.

use shoal_shared::failure::{Failure, FailureCode};
use shoal_shared::names::ModelName;
use warp::http::Method;

/// The version of a model that was never pushed with one.
pub(super) const VERSION: &str = "1";

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Target {
    Server,
    Live,
    Ready,
    Statistics,
    Index,
    /// A model, or one version of it.
    Model(ModelName, Option<String>, Of),
}

/// What is asked of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    Metadata,
    Config,
    Ready,
    Statistics,
    Infer,
}

impl Target {
    pub(super) fn read(path: &str) -> Result<Self, Failure> {
        let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
        match segments[..] {
            [] => Ok(Target::Server),
            ["health", "live"] => Ok(Target::Live),
            ["health", "ready"] => Ok(Target::Ready),
            ["models", "stats"] => Ok(Target::Statistics),
            ["repository", "index"] => Ok(Target::Index),
            ["models", model] => Ok(Target::Model(name(model)?, None, Of::Metadata)),
            ["models", model, "versions", version] => {
                Ok(Target::Model(name(model)?, Some(version.to_owned()), Of::Metadata))
            }
            ["models", model, what] if of(what).is_some() => {
                Ok(Target::Model(name(model)?, None, of(what).unwrap_or(Of::Metadata)))
            }
            ["models", model, "versions", version, what] if of(what).is_some() => {
                Ok(Target::Model(name(model)?, Some(version.to_owned()), of(what).unwrap_or(Of::Metadata)))
            }
            _ => Err(Failure::new(FailureCode::NotFound, format!("there is no such route: /v2/{path}"))),
        }
    }

    /// The method that it takes.
    pub(super) fn method(&self) -> Method {
        match self {
            Target::Index | Target::Model(_, _, Of::Infer) => Method::POST,
            _ => Method::GET,
        }
    }
}

fn of(what: &str) -> Option<Of> {
    match what {
        "config" => Some(Of::Config),
        "ready" => Some(Of::Ready),
        "stats" => Some(Of::Statistics),
        "infer" => Some(Of::Infer),
        _ => None,
    }
}

fn name(model: &str) -> Result<ModelName, Failure> {
    model.parse().map_err(|error| Failure::new(FailureCode::UnknownModel, format!("there is no such model: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_mean_what_the_protocol_says() {
        let model = |of| Target::Model("digits".parse().unwrap(), None, of);
        let second = |of| Target::Model("digits".parse().unwrap(), Some("2".into()), of);
        for (path, target) in [
            ("", Target::Server),
            ("health/ready", Target::Ready),
            ("models/stats", Target::Statistics),
            ("models/digits", model(Of::Metadata)),
            ("models/digits/versions/2", second(Of::Metadata)),
            ("models/digits/versions/2/infer", second(Of::Infer)),
            ("models/digits/stats", model(Of::Statistics)),
        ] {
            assert_eq!(Target::read(path), Ok(target), "{path}");
        }
    }

    #[test]
    fn what_is_not_there_is_told_apart() {
        let message = |path| Target::read(path).unwrap_err().message;
        assert!(message("models/..%2f/infer").contains("model"));
        for path in ["models", "models/digits/load", "models/digits/versions", "repository/models/digits/load"] {
            assert!(message(path).contains("no such route"), "{path}");
        }
    }
}
