//! Accounts, tokens, keys, feedback: who may do what, and that what is one's own stays so.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic in a test is its failure")]

use serde_json::{Value, json};
use shoal_testkit::fleet::{Fleet, FleetPlan};
use shoal_testkit::http::{self, Response};
use shoal_testkit::{eventually, images};

const JSON: (&str, &str) = ("content-type", "application/json");

fn fleet(env: &[(&str, &str)]) -> Fleet {
    let gateway_env = env.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    Fleet::start(FleetPlan { gateway_env, ..FleetPlan::default() })
}

/// Asks as somebody; as nobody with an empty token.
fn ask(fleet: &Fleet, method: &str, path: &str, token: &str, body: Option<&Value>) -> Response {
    let bearer = format!("Bearer {token}");
    let mut headers = vec![JSON];
    if !token.is_empty() {
        headers.push(("authorization", &bearer));
    }
    let body = body.map(|body| body.to_string());
    http::request(method, &fleet.url(path), &headers, body.as_ref().map(|body| body.as_bytes()))
}

fn login(fleet: &Fleet, email: &str, password: &str) -> Response {
    let form = format!("grant_type=&username={email}&password={password}&scope=&client_id=&client_secret=");
    let kind = ("content-type", "application/x-www-form-urlencoded");
    http::request("POST", &fleet.url("/login"), &[kind], Some(form.as_bytes()))
}

fn token(fleet: &Fleet, email: &str, password: &str) -> String {
    let answer = login(fleet, email, password);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["token_type"], "bearer");
    answer.json()["access_token"].as_str().unwrap().to_owned()
}

fn register(fleet: &Fleet, name: &str, email: &str) -> u64 {
    let new = json!({ "name": name, "email": email, "password": "correct horse" });
    let answer = ask(fleet, "POST", "/user/", "", Some(&new));
    assert_eq!(answer.status, 201, "{answer:?}");
    assert!(answer.json().get("password").is_none(), "{answer:?}");
    answer.json()["id"].as_u64().unwrap()
}

fn predict(fleet: &Fleet, path: &str, token: &str, digit: u8) -> Response {
    let (kind, body) = http::form("file", "digit.png", &images::digit(digit));
    let bearer = format!("Bearer {token}");
    let mut headers = vec![("content-type", kind.as_str())];
    if !token.is_empty() {
        headers.push(("authorization", &bearer));
    }
    http::request("POST", &fleet.url(path), &headers, Some(&body))
}

#[test]
fn old_clients_find_what_they_know() {
    let fleet = fleet(&[("SHOAL_GATEWAY_AUTH__DEMO", "true"), ("SHOAL_GATEWAY_AUTH__LOGIN_NOT_FOUND", "true")]);
    assert_eq!(login(&fleet, "admin@example.com", "wrong").status, 404);
    let missing = http::request(
        "POST",
        &fleet.url("/login"),
        &[("content-type", "application/x-www-form-urlencoded")],
        Some(b"username=admin@example.com"),
    );
    assert_eq!(missing.status, 422, "{missing:?}");
    let admin = token(&fleet, "admin@example.com", "admin");

    let answer = predict(&fleet, "/model/predict", &admin, 7);
    assert_eq!(answer.status, 200, "{answer:?}");
    let prediction = answer.json();
    assert_eq!((&prediction["success"], &prediction["prediction"]), (&json!(true), &json!("7")));
    let score = prediction["score"].as_f64().unwrap();
    assert_eq!((score * 1e4).round() / 1e4, score);
    let name = prediction["image_file_name"].as_str().unwrap().to_owned();
    assert!(name.len() == 36 && name.ends_with(".png"), "{name}");

    let anonymous = predict(&fleet, "/model/predict", "", 7);
    assert_eq!((anonymous.status, anonymous.header("www-authenticate")), (401, Some("Bearer")));
    let (kind, body) = http::form("file", "digit.txt", &images::digit(7));
    let bearer = format!("Bearer {admin}");
    let headers = [("content-type", kind.as_str()), ("authorization", bearer.as_str())];
    let refused = http::request("POST", &fleet.url("/model/predict"), &headers, Some(&body));
    assert_eq!((refused.status, refused.json()["detail"].as_str()), (400, Some("File type is not supported.")));
    let (kind, body) = http::form("file", "", b"");
    let headers = [("content-type", kind.as_str()), ("authorization", bearer.as_str())];
    let refused = http::request("POST", &fleet.url("/model/predict"), &headers, Some(&body));
    assert_eq!((refused.status, refused.json()["detail"].as_str()), (400, Some("No file provided")));
    let (kind, body) = http::form("picture", "a.png", &images::digit(7));
    let headers = [("content-type", kind.as_str()), ("authorization", bearer.as_str())];
    let refused = http::request("POST", &fleet.url("/model/predict"), &headers, Some(&body));
    assert_eq!(refused.status, 422, "{refused:?}");

    let feedback =
        json!({ "score": 0.9346, "predicted_class": "7", "image_file_name": name, "feedback": "It is a seven." });
    assert_eq!(ask(&fleet, "POST", "/feedback/", &admin, Some(&feedback)).status, 201);
    // As `curl -d` sends it.
    let headers = [("content-type", "application/x-www-form-urlencoded"), ("authorization", bearer.as_str())];
    let text = feedback.to_string();
    let again = http::request("POST", &fleet.url("/feedback/"), &headers, Some(text.as_bytes()));
    assert_eq!(again.status, 201, "{again:?}");
    let own = ask(&fleet, "GET", "/feedback/", &admin, None).json();
    assert_eq!((own.as_array().unwrap().len(), &own[0]["score"]), (2, &json!(0.9346)));
    assert!(own[0]["id"].is_u64());

    let bad = http::post_file(&fleet.url("/predict"), "file", "x.png", b"no image");
    assert_eq!(bad.status, 400);
    let bad = bad.json();
    assert_eq!((&bad["success"], &bad["prediction"], &bad["score"]), (&json!(false), &Value::Null, &Value::Null));
    assert!(bad.as_object().unwrap().contains_key("prediction"));
    let wrong_method = http::get(&fleet.url("/predict"));
    assert_eq!((wrong_method.status, wrong_method.header("allow")), (405, Some("POST")));
}

#[test]
fn the_oldest_form_works_without_a_script() {
    let fleet = fleet(&[("SHOAL_GATEWAY_KEEP_IMAGES", "true")]);
    let (kind, body) = http::form("file", "<b>.png", &images::digit(3));
    let page = http::request("POST", &fleet.url("/"), &[("content-type", &kind)], Some(&body));
    let html = String::from_utf8(page.body).unwrap();
    assert!(page.status == 200 && html.contains("data:image/png;base64,") && html.contains('3'), "{html}");
    assert!(!html.contains("{{") && !html.contains("<b>"), "{html}");
    let name = html.split_once("image_file_name\" value=\"").unwrap().1.split_once('"').unwrap().0.to_owned();

    let report = format!("report=incorrect&predicted_class=3&score=0.5&image_file_name={name}");
    let kind = ("content-type", "application/x-www-form-urlencoded");
    let thanks = http::request("POST", &fleet.url("/feedback"), &[kind], Some(report.as_bytes()));
    assert_eq!(thanks.status, 302, "{thanks:?}");

    let (kind, body) = http::form("file", "x.png", b"no image at all");
    let back = http::request("POST", &fleet.url("/"), &[("content-type", &kind)], Some(&body));
    assert!(back.status == 302 && back.header("location").unwrap().starts_with("/?message="), "{back:?}");

    let mut shown = None;
    eventually("the image is kept", || {
        let found = http::get(&fleet.url(&format!("/display/{name}")));
        shown = (found.status == 200).then_some(found);
        shown.is_some()
    });
    let shown = shown.unwrap();
    assert_eq!((shown.header("content-type"), &shown.body), (Some("image/png"), &images::digit(3)));
    assert_eq!(http::get(&fleet.url("/display/..%2f..%2fetc%2fpasswd")).status, 404);
}

#[test]
fn accounts_are_made_seen_and_deleted_by_those_who_may() {
    let fleet = fleet(&[("SHOAL_GATEWAY_AUTH__DEMO", "true")]);
    let (ada, bob) = (register(&fleet, "Ada", "ada@example.com"), register(&fleet, "Bob", "bob@example.com"));
    let again = json!({ "name": "Ada", "email": "ADA@example.com", "password": "x" });
    let again = ask(&fleet, "POST", "/user", "", Some(&again));
    assert_eq!((again.status, again.json()["detail"].as_str()), (400, Some("Email already registered")));
    for wrong in [
        json!({ "name": "A", "email": "a@example.com", "password": "x" }),
        json!({ "name": "Ada", "email": "nowhere", "password": "x" }),
        json!({ "name": "Ada", "email": "a@example.com" }),
        json!([1]),
    ] {
        assert_eq!(ask(&fleet, "POST", "/user/", "", Some(&wrong)).status, 422, "{wrong}");
    }

    let [ada_token, bob_token] =
        ["ada", "bob"].map(|who| token(&fleet, &format!("{who}@example.com"), "correct%20horse"));
    let admin = token(&fleet, "admin@example.com", "admin");
    assert_eq!(ask(&fleet, "GET", "/user/", "", None).status, 401);
    assert_eq!(ask(&fleet, "GET", "/user/", "forged.token.here", None).status, 401);
    let seen = ask(&fleet, "GET", "/user/", &ada_token, None).json();
    assert_eq!(seen, json!([{ "id": ada, "name": "Ada", "email": "ada@example.com", "admin": false }]));
    assert_eq!(ask(&fleet, "GET", "/user/", &admin, None).json().as_array().unwrap().len(), 3);
    assert_eq!(ask(&fleet, "GET", &format!("/user/{bob}"), &ada_token, None).status, 404);
    assert_eq!(ask(&fleet, "DELETE", &format!("/user/{bob}"), &ada_token, None).status, 404);
    assert_eq!(ask(&fleet, "GET", "/user/me", &bob_token, None).json()["id"], bob);
    assert_eq!(ask(&fleet, "GET", "/user/x", &bob_token, None).status, 422);

    assert_eq!(ask(&fleet, "DELETE", &format!("/user/{bob}/"), &admin, None).status, 204);
    eventually("a deleted account's token is refused", || {
        ask(&fleet, "GET", "/user/me", &bob_token, None).status == 401
    });
    assert_eq!(login(&fleet, "bob@example.com", "correct%20horse").status, 401);
    register(&fleet, "Bob", "bob@example.com");
}

#[test]
fn what_is_one_s_own_is_invisible_to_others() {
    let fleet = fleet(&[("SHOAL_GATEWAY_KEEP_IMAGES", "true")]);
    register(&fleet, "Ada", "ada@example.com");
    register(&fleet, "Bob", "bob@example.com");
    let [ada, bob] = ["ada", "bob"].map(|who| token(&fleet, &format!("{who}@example.com"), "correct%20horse"));
    let bearer = format!("Bearer {ada}");
    let submitted = http::post(&fleet.url("/jobs"), &[("authorization", &bearer)], &images::digit(1));
    assert_eq!(submitted.status, 202, "{submitted:?}");
    let job = submitted.json()["id"].as_str().unwrap().to_owned();
    let chosen = http::request("PUT", &fleet.url("/jobs/mine"), &[("authorization", &bearer)], Some(&images::digit(2)));
    assert_eq!(chosen.status, 202, "{chosen:?}");
    let feedback = json!({ "score": 1.0, "predicted_class": "1", "image_file_name": "x", "feedback": "up" });
    assert_eq!(ask(&fleet, "POST", "/feedback", &ada, Some(&feedback)).status, 201);
    let key = ask(&fleet, "POST", "/keys", &ada, Some(&json!({ "name": "k" }))).json();
    let name = predict(&fleet, "/predict", &ada, 1).json()["image_file_name"].as_str().unwrap().to_owned();
    let image = format!("/display/{name}");
    eventually("Ada's image is kept", || ask(&fleet, "GET", &image, &ada, None).status == 200);
    let done = ask(&fleet, "GET", &format!("/jobs/{job}?wait=30"), &ada, None).json();
    assert_eq!(done["result"]["prediction"], "1");

    for stranger in [bob.as_str(), ""] {
        for id in [job.as_str(), "mine"] {
            for (method, path) in [
                ("GET", format!("/jobs/{id}")),
                ("DELETE", format!("/jobs/{id}")),
                ("GET", format!("/jobs/{id}/events")),
            ] {
                assert_eq!(ask(&fleet, method, &path, stranger, None).status, 404, "{method} {path}");
            }
        }
        assert_eq!(ask(&fleet, "GET", &image, stranger, None).status, 404);
        assert_eq!(ask(&fleet, "GET", "/jobs", stranger, None).json(), json!([]));
    }
    assert_eq!(ask(&fleet, "GET", "/feedback", &bob, None).json(), json!([]));
    assert_eq!(ask(&fleet, "GET", "/feedback?all=true", &bob, None).status, 403);
    assert_eq!(ask(&fleet, "GET", "/keys", &bob, None).json(), json!([]));
    let hers = format!("/keys/{}", key["id"].as_str().unwrap());
    assert_eq!(ask(&fleet, "DELETE", &hers, &bob, None).status, 404);
    let secrets = [&ada, &bob].map(|who| ask(&fleet, "GET", "/webhooks/secret", who, None).json());
    assert_ne!(secrets[0], secrets[1]);
    // The same id is another job for somebody else.
    let bearer = format!("Bearer {bob}");
    let his = http::request("PUT", &fleet.url("/jobs/mine"), &[("authorization", &bearer)], Some(&images::digit(3)));
    assert_eq!(his.status, 202, "{his:?}");
    let result = |who| ask(&fleet, "GET", "/jobs/mine?wait=30", who, None).json()["result"]["prediction"].clone();
    assert_eq!((result(&ada), result(&bob)), (json!("2"), json!("3")));
}

#[test]
fn a_closed_gateway_lets_in_who_has_credentials_for_what_they_are_for() {
    let env = [("SHOAL_GATEWAY_AUTH__MODE", "required"), ("SHOAL_GATEWAY_AUTH__REGISTRATION", "admin")];
    let fleet = fleet(&[env[0], env[1], ("SHOAL_GATEWAY_AUTH__REQUESTS_PER_MINUTE", "600")]);
    let log = fleet.gateways[0].0.log();
    let said = log.lines().find_map(|line| line.strip_prefix("First admin: ")).expect("the first admin is told");
    let (email, rest) = said.split_once(", password ").unwrap();
    let admin = token(&fleet, email, rest.split_once(' ').unwrap().0);

    for path in ["/", "/healthz", "/readyz", "/metrics", "/openapi.json", "/api/session"] {
        assert_eq!(ask(&fleet, "GET", path, "", None).status, 200, "{path}");
    }
    for (method, path) in [
        ("GET", "/models"),
        ("POST", "/predict"),
        ("POST", "/jobs"),
        ("GET", "/jobs"),
        ("GET", "/user"),
        ("POST", "/feedback"),
    ] {
        let refused = ask(&fleet, method, path, "", None);
        assert_eq!((refused.status, refused.header("www-authenticate")), (401, Some("Bearer")), "{method} {path}");
    }
    let new = json!({ "name": "Eve", "email": "eve@example.com", "password": "long enough" });
    assert_eq!(ask(&fleet, "POST", "/user", "", Some(&new)).status, 401);
    assert_eq!(ask(&fleet, "POST", "/user", &admin, Some(&new)).status, 201);
    let eve = token(&fleet, "eve@example.com", "long%20enough");

    let wish = json!({ "name": "camera", "scopes": ["predict"], "expires_in_days": 1, "requests_per_day": 3 });
    let made = ask(&fleet, "POST", "/keys", &eve, Some(&wish));
    assert_eq!(made.status, 201, "{made:?}");
    let key = made.json()["key"].as_str().unwrap().to_owned();
    assert!(key.starts_with("shoal_"));
    assert!(ask(&fleet, "GET", "/keys", &eve, None).json()[0].get("key").is_none());
    for left in ["2", "1", "0"] {
        let answer = predict(&fleet, "/predict", &key, 5);
        assert_eq!((answer.status, answer.header("ratelimit-remaining")), (200, Some(left)));
    }
    let used_up = predict(&fleet, "/predict", &key, 5);
    assert_eq!(used_up.status, 429, "{used_up:?}");
    assert!(used_up.header("retry-after").unwrap().parse::<u64>().unwrap() > 0);
    let as_header = http::request("GET", &fleet.url("/feedback"), &[("x-api-key", &key)], None);
    assert_eq!((as_header.status, as_header.json()["error"]["code"].as_str()), (403, Some("forbidden")));
    assert_eq!(ask(&fleet, "POST", "/keys", &key, Some(&wish)).status, 403);

    let id = made.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(ask(&fleet, "DELETE", &format!("/keys/{id}"), &eve, None).status, 204);
    eventually("a removed key is refused", || predict(&fleet, "/predict", &key, 5).status == 401);
    let limited = ask(&fleet, "GET", "/models", &eve, None);
    assert_eq!((limited.status, limited.header("ratelimit-limit")), (200, Some("600")));
}

#[test]
fn guessing_a_password_takes_for_ever_and_rotating_the_secret_ends_old_tokens() {
    let fleet = fleet(&[]);
    register(&fleet, "Ada", "ada@example.com");
    let before = token(&fleet, "ada@example.com", "correct%20horse");
    for _ in 0..5 {
        assert_eq!(login(&fleet, "ada@example.com", "guess").status, 401);
    }
    let slowed = login(&fleet, "ada@example.com", "correct%20horse");
    assert_eq!(slowed.status, 429, "{slowed:?}");
    assert!(slowed.header("retry-after").unwrap().parse::<u64>().unwrap() > 0);

    // One rotation keeps tokens, a second one ends them.
    fleet.shoal(&["users", "rotate-secret"]);
    assert_eq!(ask(&fleet, "GET", "/user/me", &before, None).status, 200);
    fleet.shoal(&["users", "rotate-secret"]);
    let fresh = http::request("POST", &fleet.url("/login"), &[], Some(b""));
    assert_eq!(fresh.status, 422);
    let mut fleet = fleet;
    fleet.add_gateway();
    let me = format!("{}/user/me", fleet.gateways[1].1);
    let bearer = format!("Bearer {before}");
    assert_eq!(http::request("GET", &me, &[("authorization", &bearer)], None).status, 401);
    assert!(fleet.shoal(&["users", "list"]).contains("ada@example.com"));
}

#[test]
fn other_pages_may_ask_when_they_are_named() {
    let fleet = fleet(&[("SHOAL_GATEWAY_CORS_ORIGINS", "[\"https://app.example.com\"]")]);
    let preflight = |origin: &str| {
        let headers = [("origin", origin), ("access-control-request-method", "POST")];
        http::request("OPTIONS", &fleet.url("/predict"), &headers, None)
    };
    let allowed = preflight("https://app.example.com");
    assert_eq!(allowed.status, 204, "{allowed:?}");
    assert_eq!(allowed.header("access-control-allow-origin"), Some("https://app.example.com"));
    assert_eq!(preflight("https://evil.example.com").header("access-control-allow-origin"), None);
    let health = http::request("GET", &fleet.url("/healthz"), &[("origin", "https://app.example.com")], None);
    assert_eq!(health.header("access-control-allow-origin"), Some("https://app.example.com"));
    assert_eq!(health.header("x-content-type-options"), Some("nosniff"));
}

#[test]
fn odd_credentials_ids_and_bodies_never_break_anything() {
    let fleet = fleet(&[("SHOAL_GATEWAY_AUTH__MODE", "optional")]);
    let long = "x".repeat(20_000);
    let odd = ["", " ", "Bearer", "Bearer ", "Bearer a.b.c", "Bearer shoal_", "Basic YTpi", "Bearer ..", &long];
    let token = format!("Bearer eyJhbGciOiJub25lIn0.{}.", "e30");
    for sent in odd.iter().copied().chain([token.as_str()]) {
        for path in
            ["/user", "/user/me", "/jobs", "/keys", "/feedback", "/models", "/v2/models/digits", "/webhooks/secret"]
        {
            for name in ["authorization", "x-api-key"] {
                let answer = http::request("GET", &fleet.url(path), &[(name, sent)], None);
                assert!(answer.status < 500, "{name}: {sent:?} {path}: {answer:?}");
            }
        }
    }
    let ids = ["0", "-1", "99999999999999999999", "%00", "%2e%2e", "*", "%3E", "a.b", "me", &long[..5000]];
    for id in ids {
        for (method, path) in [
            ("GET", "/jobs/"),
            ("DELETE", "/jobs/"),
            ("PUT", "/jobs/"),
            ("GET", "/user/"),
            ("DELETE", "/user/"),
            ("DELETE", "/keys/"),
            ("GET", "/display/"),
            ("GET", "/predictions/"),
            ("GET", "/v2/models/"),
        ] {
            let body = (method == "PUT").then_some(b"x".as_slice());
            let answer = http::request(method, &fleet.url(&format!("{path}{id}")), &[], body);
            assert!(answer.status < 500, "{method} {path}{id}: {answer:?}");
        }
    }
    let bodies: [&[u8]; 6] = [b"", b"{", b"[]", b"null", b"{\"name\":1}", &[0xff; 40_000]];
    for body in bodies {
        for path in [
            "/user",
            "/keys",
            "/feedback",
            "/login",
            "/model/predict",
            "/",
            "/jobs",
            "/predict/batch",
            "/v2/models/digits/infer",
        ] {
            for kind in
                ["application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "x"]
            {
                let answer = http::request("POST", &fleet.url(path), &[("content-type", kind)], Some(body));
                assert!(answer.status < 500, "{path} {kind}: {answer:?}");
            }
        }
    }
    assert!(http::is_ok(&fleet.url("/readyz")));
}
