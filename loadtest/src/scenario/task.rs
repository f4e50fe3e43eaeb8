//! One kind of request.

use serde::{Deserialize, Serialize};

/// One kind of request.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// What it is called in reports.
    pub name: String,
    /// Path and query.
    pub path: String,
    /// By default GET, or POST with an upload.
    #[serde(default)]
    pub method: Option<Method>,
    /// How an image is sent, if one is.
    #[serde(default)]
    pub upload: Option<Upload>,
    /// How often it is drawn, relative to the others.
    #[serde(default = "one")]
    pub weight: u32,
    /// Whether the user's bearer token goes with it.
    #[serde(default)]
    pub token: bool,
    /// Whether the answer's `prediction` is checked; by default with an upload.
    #[serde(default)]
    pub check: Option<bool>,
}

/// HTTP methods that a load test needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// GET.
    Get,
    /// POST.
    Post,
}

/// How an image is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Upload {
    /// As the body.
    Raw,
    /// As form field `file`.
    Multipart,
}

impl Task {
    /// GET or POST.
    pub fn method(&self) -> Method {
        self.method.unwrap_or(if self.upload.is_some() { Method::Post } else { Method::Get })
    }

    /// Whether its answer's label is checked.
    pub fn is_checked(&self) -> bool {
        self.check.unwrap_or(self.upload.is_some())
    }

    pub(super) fn check(&self) -> Result<(), String> {
        if !self.path.starts_with('/') || self.path.parse::<hyper::Uri>().is_err() {
            return Err(format!("path `{}` is no path such as /predict", self.path));
        }
        if self.upload.is_some() && self.method() == Method::Get {
            return Err("an upload needs POST".into());
        }
        if self.upload.is_none() && self.check == Some(true) {
            return Err("without an upload there is no label to check".into());
        }
        if self.weight > 1_000_000 {
            return Err("weight is at most 1000000".into());
        }
        Ok(())
    }
}

impl Method {
    /// As it stands in a request.
    pub fn as_str(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Post => "POST",
        }
    }
}

fn one() -> u32 {
    1
}
