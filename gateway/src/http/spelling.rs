//! One spelling of each path (RFC 3986, section 6.2.2), for routes, permissions and metrics.

use hyper::Uri;

/// `/user/` is `/user`, and `/jobs/a%2D1` is `/jobs/a-1`.
pub(super) fn normalise(uri: &mut Uri) {
    let path = uri.path();
    let ends_well = path.len() < 2 || !path.ends_with('/');
    if ends_well && !path.contains('%') {
        return;
    }
    let path = unescaped(path);
    let path = path.trim_end_matches('/');
    let path = if path.is_empty() { "/" } else { path };
    let spelled = uri.query().map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
    if let Ok(spelled) = spelled.parse() {
        *uri = spelled;
    }
}

/// Characters that need no escape lose it; what else is escaped means something else unescaped.
fn unescaped(path: &str) -> String {
    let mut parts = path.split('%');
    let mut spelled = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let escaped = part.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok()).map(char::from);
        match escaped.filter(|&character| is_unreserved(character)) {
            Some(character) => {
                spelled.push(character);
                spelled.push_str(&part[2..]);
            }
            None => {
                spelled.push('%');
                spelled.push_str(part);
            }
        }
    }
    spelled
}

fn is_unreserved(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '-' | '.' | '_' | '~')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spelled(text: &str) -> String {
        let mut uri: Uri = text.parse().unwrap();
        normalise(&mut uri);
        uri.to_string()
    }

    #[test]
    fn a_slash_at_the_end_is_none() {
        assert_eq!(spelled("/user/"), "/user");
        assert_eq!(spelled("/user/7/?a=b/"), "/user/7?a=b/");
        assert_eq!(spelled("/"), "/");
        assert_eq!(spelled("///"), "/");
    }

    #[test]
    fn an_escape_that_is_not_needed_is_none() {
        assert_eq!(spelled("/jobs/order%2D1%5f%41?a=%2D"), "/jobs/order-1_A?a=%2D");
        assert_eq!(spelled("/%6aobs/"), "/jobs");
    }

    #[test]
    fn any_other_escape_stays() {
        for path in ["/jobs/a%2Fb", "/jobs/a%20b", "/jobs/%C3%A9", "/jobs/%", "/jobs/%2", "/jobs/%+1", "/jobs/%252D"] {
            assert_eq!(spelled(path), path);
        }
    }
}
