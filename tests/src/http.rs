//! The few HTTP requests tests make.

use std::io::Read;
use std::time::Duration;

use serde_json::Value;

/// A response, read whole.
#[derive(Debug)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Vec<u8>,
}

impl Response {
    /// The body as JSON; null when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// The longest that any test waits for an answer: what hangs is to fail, not to hang its test.
const PATIENCE: Duration = Duration::from_secs(300);

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE)).build().into()
}

fn read(response: ureq::http::Response<ureq::Body>) -> Result<Response, String> {
    let status = response.status().as_u16();
    let headers =
        response.headers().iter().map(|(k, v)| (k.to_string(), v.to_str().unwrap_or_default().to_owned())).collect();
    let mut body = Vec::new();
    response.into_body().into_reader().read_to_end(&mut body).map_err(|error| error.to_string())?;
    Ok(Response { status, headers, body })
}

/// GET.
pub fn get(url: &str) -> Response {
    Client::new().try_get(url).unwrap_or_else(|error| panic!("{url}: {error}"))
}

/// DELETE.
pub fn delete(url: &str) -> Response {
    Client::new().try_delete(url).unwrap_or_else(|error| panic!("{url}: {error}"))
}

/// Whether GET answers 200.
pub fn is_ok(url: &str) -> bool {
    agent().get(url).call().is_ok_and(|response| response.status() == 200)
}

/// POST of raw bytes with extra headers.
pub fn post(url: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
    try_post(url, headers, body).unwrap_or_else(|error| panic!("{url}: {error}"))
}

/// POST that may fail on the way.
pub fn try_post(url: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Response, String> {
    Client::new().try_post(url, headers, body)
}

/// Any request. Without a body none is sent.
pub fn request(method: &str, url: &str, headers: &[(&str, &str)], body: Option<&[u8]>) -> Response {
    let request = ureq::http::Request::builder().method(method).uri(url);
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let answer = match body {
        Some(body) => agent_for_any().run(request.body(body).unwrap()),
        None => agent_for_any().run(request.body(()).unwrap()),
    };
    answer.map_err(|error| error.to_string()).and_then(read).unwrap_or_else(|error| panic!("{method} {url}: {error}"))
}

fn agent_for_any() -> ureq::Agent {
    let config = ureq::Agent::config_builder().http_status_as_error(false).max_redirects(0);
    let config = config.timeout_global(Some(PATIENCE));
    config.allow_non_standard_methods(true).build().into()
}

/// What is sent when a form is posted with one file: its content type, and its body.
pub fn form(field: &str, file_name: &str, content: &[u8]) -> (String, Vec<u8>) {
    const BOUNDARY: &str = "----shoal-test-boundary";
    let mut body =
        format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{field}\"; filename=\"{file_name}\"\r\nContent-Type: application/octet-stream\r\n\r\n")
            .into_bytes();
    body.extend_from_slice(content);
    body.extend_from_slice(format!("\r\n--{BOUNDARY}--\r\n").as_bytes());
    (format!("multipart/form-data; boundary={BOUNDARY}"), body)
}

/// POST of a form with one file.
pub fn post_file(url: &str, field: &str, file_name: &str, content: &[u8]) -> Response {
    let (kind, body) = form(field, file_name, content);
    post(url, &[("Content-Type", &kind)], &body)
}

/// A client that keeps its connections.
pub struct Client(ureq::Agent);

impl Client {
    /// No connection yet.
    #[expect(clippy::new_without_default, reason = "a client is something one makes on purpose")]
    pub fn new() -> Self {
        Self(agent())
    }

    /// POST of raw bytes.
    pub fn post(&self, url: &str, body: &[u8]) -> Response {
        self.try_post(url, &[], body).unwrap_or_else(|error| panic!("{url}: {error}"))
    }

    /// GET that may fail on the way.
    pub fn try_get(&self, url: &str) -> Result<Response, String> {
        self.0.get(url).call().map_err(|error| error.to_string()).and_then(read)
    }

    /// GET with extra headers that may fail on the way.
    pub fn try_get_with(&self, url: &str, headers: &[(&str, &str)]) -> Result<Response, String> {
        let request = headers.iter().fold(self.0.get(url), |request, (name, value)| request.header(*name, *value));
        request.call().map_err(|error| error.to_string()).and_then(read)
    }

    /// DELETE that may fail on the way.
    pub fn try_delete(&self, url: &str) -> Result<Response, String> {
        self.0.delete(url).call().map_err(|error| error.to_string()).and_then(read)
    }

    /// POST with extra headers that may fail on the way.
    pub fn try_post(&self, url: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Response, String> {
        let mut request = self.0.post(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send(body).map_err(|error| error.to_string()).and_then(read)
    }
}
