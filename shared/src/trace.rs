//! Which request something belongs to: W3C trace context, and the request id that people read.

use crate::hexadecimal;

/// Longest request id taken from outside.
const LONGEST_ID: usize = 64;

/// The trace of one request, and the span that this process contributes to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// The whole trace.
    pub trace: [u8; 16],
    /// The span of whoever asked; absent at the root.
    pub parent: Option<[u8; 8]>,
    /// This process's span.
    pub span: [u8; 8],
    /// Whether whoever asked wants it recorded.
    pub sampled: bool,
    /// The id that the client gave; absent: the trace is the id.
    given_id: Option<String>,
}

impl Trace {
    /// Goes on with the caller's trace, or begins one. Malformed headers count as absent.
    pub fn of(traceparent: Option<&str>, request_id: Option<&str>) -> Self {
        let given_id = request_id.filter(|id| is_id(id)).map(str::to_owned);
        let span = fastrand::u64(1..).to_be_bytes();
        match traceparent.and_then(parse) {
            Some((trace, parent, sampled)) => Self { trace, parent: Some(parent), span, sampled, given_id },
            None => Self { trace: fastrand::u128(1..).to_be_bytes(), parent: None, span, sampled: false, given_id },
        }
    }

    /// The header for whoever is asked next: this process's span is the parent there.
    pub fn traceparent(&self) -> String {
        let flags = if self.sampled { "01" } else { "00" };
        format!("00-{}-{}-{flags}", self.trace_id(), hex(&self.span))
    }

    /// The trace in hexadecimal.
    pub fn trace_id(&self) -> String {
        hex(&self.trace)
    }

    /// What people find the request by: in the answer's `X-Request-Id` and in the logs.
    pub fn request_id(&self) -> String {
        self.given_id.clone().unwrap_or_else(|| self.trace_id())
    }

    /// The id that the client gave, if any.
    pub fn given_id(&self) -> Option<&str> {
        self.given_id.as_deref()
    }
}

/// Graphic ASCII: safe in headers and logs.
fn is_id(text: &str) -> bool {
    !text.is_empty() && text.len() <= LONGEST_ID && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// `version-trace-parent-flags`, as W3C Trace Context has it; later versions may say more at the end.
fn parse(text: &str) -> Option<([u8; 16], [u8; 8], bool)> {
    let mut parts = text.trim().split('-');
    let version = bytes::<1>(parts.next()?)?[0];
    let (trace, parent, flags) = (bytes(parts.next()?)?, bytes(parts.next()?)?, bytes::<1>(parts.next()?)?[0]);
    let is_extended = parts.next().is_some();
    if version == 0xff || (version == 0 && is_extended) || trace == [0; 16] || parent == [0; 8] {
        return None;
    }
    Some((trace, parent, flags & 1 == 1))
}

fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    // The specification allows lower case only.
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    let mut bytes = [0; N];
    hex::decode_to_slice(text, &mut bytes).ok()?;
    Some(bytes)
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    // Writing into a string does not fail.
    let _ = hexadecimal::write(bytes, &mut text);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_trace_goes_on_under_a_span_of_its_own() {
        let trace = Trace::of(Some(PARENT), None);
        assert_eq!(trace.trace_id(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(trace.request_id(), trace.trace_id());
        assert!(trace.sampled && trace.parent.is_some());
        let next = Trace::of(Some(&trace.traceparent()), Some("order-17"));
        assert_eq!((next.trace, next.parent), (trace.trace, Some(trace.span)));
        assert_ne!(next.span, trace.span);
        assert_eq!(next.request_id(), "order-17");
    }

    #[test]
    fn nonsense_begins_a_new_trace() {
        let zero = "00-00000000000000000000000000000000-b7ad6b7169203331-01";
        let upper = PARENT.to_uppercase();
        for text in ["", "00", zero, &upper, &format!("{PARENT}-more"), &PARENT.replacen("00", "ff", 1)] {
            let trace = Trace::of(Some(text), Some("not an id\n"));
            assert_eq!((trace.parent, trace.sampled, trace.given_id()), (None, false, None), "{text}");
        }
        // A later version may have more fields.
        assert!(Trace::of(Some(&format!("{}-more", PARENT.replacen("00", "01", 1))), None).parent.is_some());
    }
}
