//! A pause: one duration, or a range to draw from.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A pause, written `2s` or `1s-5s`; drawn evenly from the range.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Wait {
    /// Shortest.
    pub least: Duration,
    /// Longest.
    pub most: Duration,
}

impl Wait {
    /// One pause.
    pub fn draw(&self) -> Duration {
        if self.most.is_zero() {
            return Duration::ZERO;
        }
        Duration::from_micros(fastrand::u64(self.least.as_micros() as u64..=self.most.as_micros() as u64))
    }
}

impl FromStr for Wait {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (least, most) = text.split_once('-').unwrap_or((text, text));
        let (least, most) = (duration(least)?, duration(most)?);
        if least > most { Err(format!("the range {text} is empty")) } else { Ok(Self { least, most }) }
    }
}

/// A plain number is seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return Duration::try_from_secs_f64(seconds).map_err(|error| format!("`{text}`: {error}"));
    }
    humantime::parse_duration(text).map_err(|error| format!("`{text}` is no duration such as 2s or 300ms: {error}"))
}

impl TryFrom<String> for Wait {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}", humantime::format_duration(self.least))?;
        if self.most > self.least {
            write!(f, "-{}", humantime::format_duration(self.most))?;
        }
        Ok(())
    }
}

impl From<Wait> for String {
    fn from(wait: Wait) -> Self {
        wait.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_read_back() {
        for text in ["2s", "1s-5s", "300ms-2s"] {
            assert_eq!(text.parse::<Wait>().unwrap().to_string(), text);
        }
        assert_eq!("0.5-1".parse::<Wait>().unwrap().to_string(), "500ms-1s");
        assert!("5-1".parse::<Wait>().unwrap_err().contains("empty"));
        assert!("soon".parse::<Wait>().is_err());
    }
}
