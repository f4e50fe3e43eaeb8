//! One rule for every binary: defaults, then a TOML file, then the environment, then flags.

use std::path::Path;

use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

/// What is wrong with the configuration, a line for each error; names key, value and source.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct ConfigError(String);

impl ConfigError {
    /// A value that parsed but cannot be right.
    pub fn invalid(key: &str, value: impl std::fmt::Display, expected: &str) -> Self {
        Self(format!("configuration key `{key}` is {value}: {expected}"))
    }
}

/// Loads the configuration of the binary `section` (`gateway`, `worker`, `up`).
///
/// `file` holds one table per binary, e.g. `[gateway]`, and `[nats]` for what all of them share; the
/// environment uses `SHOAL_<SECTION>_<KEY>`, with `__` between nested keys; `flags` wins, its absent
/// options skipped.
pub fn load<C, F>(section: &'static str, file: Option<&Path>, flags: &F) -> Result<C, ConfigError>
where
    C: Default + Serialize + DeserializeOwned,
    F: Serialize,
{
    let mut figment = Figment::from(Serialized::defaults(C::default()));
    let whole = file.map(read).transpose()?.unwrap_or_default();
    if figment.contains(SHARED) {
        if let Some(table) = whole.get(SHARED) {
            let nested = toml::Table::from_iter([(SHARED.to_owned(), table.clone())]);
            figment = figment.merge(Toml::string(&toml::to_string(&nested).unwrap_or_default()));
        }
        figment = figment.merge(environment(SHARED).map(|key| format!("{SHARED}.{key}").into()));
    }
    if let Some(table) = whole.get(section) {
        figment = figment.merge(Toml::string(&toml::to_string(table).unwrap_or_default()));
    }
    figment.merge(environment(section)).merge(Serialized::defaults(flags)).extract().map_err(|errors| {
        let explained: Vec<_> = errors.into_iter().map(|error| explain(&error, section, file)).collect();
        ConfigError(explained.join("\n"))
    })
}

/// Where the value came from, by the name that its author knows, and what is wrong with it.
fn explain(error: &figment::Error, section: &str, file: Option<&Path>) -> String {
    let source = error.metadata.as_ref().map(|source| source.name.to_lowercase()).unwrap_or_default();
    let is_shared = section != SHARED && error.path.first().is_some_and(|first| first.eq_ignore_ascii_case(SHARED));
    let place = if source.contains("environment") {
        let key = error.path.join("__").to_uppercase();
        let table = section.to_uppercase();
        // Of the two ways to a shared key, people take the shorter.
        let nested = format!("{}__", SHARED.to_uppercase());
        key.strip_prefix(&nested).filter(|_| is_shared).map_or_else(
            || format!("environment variable SHOAL_{table}_{key}"),
            |key| format!("environment variable SHOAL_{}_{key}", SHARED.to_uppercase()),
        )
    } else if source.contains("toml") {
        let key = error.path.join(".");
        let key = if is_shared { key } else { format!("{section}.{key}") };
        let key = key.trim_end_matches('.');
        let file = file.map(|file| format!(" in {}", file.display())).unwrap_or_default();
        format!("configuration key `{key}`{file}")
    } else {
        format!("configuration of {section}")
    };
    format!("{place}: {}", error.kind)
}

/// The table whose keys every binary has, under the same name.
const SHARED: &str = "nats";

fn environment(section: &str) -> Env {
    // SHOAL_NATS_SERVER is a program's path, not a key.
    Env::prefixed(&format!("SHOAL_{}_", section.to_uppercase())).ignore(&["server"]).split("__")
}

/// The tables of a configuration file: one for each binary, and what they share.
const TABLES: [&str; 3] = [SHARED, "gateway", "worker"];

fn read(path: &Path) -> Result<toml::Table, ConfigError> {
    let failed = |error: String| ConfigError(format!("configuration file {}: {error}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    let whole: toml::Table = toml::from_str(&text).map_err(|error| failed(error.to_string()))?;
    match whole.keys().find(|table| !TABLES.contains(&table.as_str())) {
        // A misspelt table would be left out without a word.
        Some(table) => Err(failed(format!("there is no table [{table}]; there are [{}]", TABLES.join("], [")))),
        None => Ok(whole),
    }
}

/// The effective configuration as TOML, for `--print-config`.
pub fn print<C: Serialize>(section: &str, config: &C) -> String {
    let body = toml::to_string_pretty(config).unwrap_or_else(|error| format!("# cannot be shown: {error}\n"));
    format!("# effective configuration of [{section}]\n{body}")
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        port: u16,
        name: String,
    }

    impl Default for Sample {
        fn default() -> Self {
            Self { port: 8000, name: "shoal".into() }
        }
    }

    #[derive(Serialize)]
    struct Flags {
        #[serde(skip_serializing_if = "Option::is_none")]
        port: Option<u16>,
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let file = file("[gateway]\nport = 9000\nname = \"file\"\n[worker]\nx = 1\n");
        let from_file: Sample = load("gateway", Some(file.path()), &Flags { port: None }).unwrap();
        assert_eq!(from_file, Sample { port: 9000, name: "file".into() });
        let from_flag: Sample = load("gateway", Some(file.path()), &Flags { port: Some(1) }).unwrap();
        assert_eq!(from_flag.port, 1);
    }

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct WithNats {
        nats: Sample,
    }

    #[test]
    fn what_all_share_is_said_once_and_may_be_overruled() {
        let shared = file("[nats]\nname = \"shared\"\n[gateway.nats]\nport = 7\n");
        let loaded: WithNats = load("gateway", Some(shared.path()), &toml::Table::new()).unwrap();
        assert_eq!(loaded.nats, Sample { port: 7, name: "shared".into() });
        let alone: Sample = load("nats", Some(shared.path()), &Flags { port: None }).unwrap();
        assert_eq!(alone.name, "shared");
    }

    #[test]
    fn an_error_names_the_key() {
        let file = file("[gateway]\nport = \"many\"\n");
        let error = load::<Sample, _>("gateway", Some(file.path()), &Flags { port: None }).unwrap_err();
        let said = format!("configuration key `gateway.port` in {}: ", file.path().display());
        assert!(error.to_string().starts_with(&said), "{error}");
        let typo = self::file("[gateway]\nprot = 1\n");
        let error = load::<Sample, _>("gateway", Some(typo.path()), &Flags { port: None }).unwrap_err();
        assert!(error.to_string().contains("`prot`"), "{error}");
    }

    #[test]
    fn a_table_that_does_not_exist_is_an_error() {
        let typo = file("[gatway]\nport = 1\n");
        let error = load::<Sample, _>("gateway", Some(typo.path()), &Flags { port: None }).unwrap_err();
        assert!(error.to_string().contains("[gatway]; there are [nats], [gateway], [worker]"), "{error}");
    }
}
